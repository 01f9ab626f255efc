"""Chunks between their writer and the server: how many are held, and which go next.

It knows no clock and does no I/O.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.errors import check_number

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK_BYTES = 64  # what it costs to keep a short chunk, beside its bytes


class Backlog:
    """Chunks that were taken from the writer, until the server has them.

    A batch goes when its first chunk has waited for `flush_interval` seconds, or when it has
    `max_batch_bytes` or `max_batch_chunks`. A chunk longer than that goes alone. What waits may
    have `max_buffer_bytes` of memory, counted as the bytes of each chunk and `CHUNK_BYTES` more.
    Chunks of the batch that is under way count as held, too: they may have to be sent again.

    Raises ValueError if nothing could be sent under these limits.
    """

    def __init__(
        self,
        flush_interval: float,
        max_batch_bytes: int,
        max_batch_chunks: int,
        max_buffer_bytes: int,
    ) -> None:
        check_number("flush_interval", flush_interval)
        check_number("max_batch_bytes", max_batch_bytes, 1, is_whole=True)
        check_number("max_batch_chunks", max_batch_chunks, 1, is_whole=True)
        check_number("max_buffer_bytes", max_buffer_bytes, 1, is_whole=True)
        self._flush_interval_s = flush_interval
        self._most_held_bytes = max_buffer_bytes
        # What the server takes may be less than the limits, or turn out to be more.
        self.max_batch_bytes = max_batch_bytes
        self.max_batch_chunks = max_batch_chunks
        self.taken = 0  # chunks, since the beginning
        self.acknowledged = 0  # of these
        self._held_bytes = 0
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._since = 0.0  # when the first of these came

    @override
    def __repr__(self) -> str:
        return (
            f"Backlog(taken={self.taken}, acknowledged={self.acknowledged}, "
            f"pending={len(self._pending)}, held_bytes={self._held_bytes})"
        )

    @property
    def is_empty(self) -> bool:
        """True if no chunk waits to be sent; some may be under way."""
        return not self._pending

    @property
    def is_full(self) -> bool:
        """True if a whole batch waits."""
        return (
            self._pending_bytes >= self.max_batch_bytes
            or len(self._pending) >= self.max_batch_chunks
        )

    @property
    def due_at(self) -> float:
        """The loop time at which the oldest waiting chunk has to be sent."""
        return self._since + self._flush_interval_s

    def has_room(self, size: int) -> bool:
        """Return whether a chunk fits into the buffer; any chunk fits into an empty one."""
        cost = size + CHUNK_BYTES
        return not self._held_bytes or self._held_bytes + cost <= self._most_held_bytes

    def take(self, chunk: bytes, clock: Callable[[], float]) -> None:
        """Add a chunk; the first of a batch notes the time, from which its flush is due."""
        if not self._pending:
            self._since = clock()
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        self._held_bytes += len(chunk) + CHUNK_BYTES
        self.taken += 1

    def next_batch(self) -> list[bytes]:
        """Return the next batch, taken off the queue: within the limits, or a single chunk."""
        batch: list[bytes] = []
        size = 0
        while self._pending and len(batch) < self.max_batch_chunks:
            size += len(self._pending[0])
            if batch and size > self.max_batch_bytes:
                break
            batch.append(self._pending.popleft())
            self._pending_bytes -= len(batch[-1])
        return batch

    def acknowledge(self, chunks: list[bytes]) -> None:
        """Count these chunks as stored by the server, and free their room in the buffer."""
        self.acknowledged += len(chunks)
        self._held_bytes -= sum(map(len, chunks)) + CHUNK_BYTES * len(chunks)

    def discard(self) -> None:
        """Drop what is left."""
        self._pending.clear()
        self._pending_bytes = self._held_bytes = 0
