"""Chunks between their writer and the server: how many are held, and which go next."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

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
        self._max_batch_bytes = max_batch_bytes
        self._max_batch_chunks = max_batch_chunks
        self._max_held_bytes = max_buffer_bytes
        self.takes_batches = True  # else each chunk is a batch
        self.taken = 0  # chunks, since the beginning
        self.acknowledged = 0  # of these
        self.flushed = 0  # of these; they do not wait for others
        self._held_bytes = 0
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._since = 0.0  # when the first of these came

    @property
    def is_empty(self) -> bool:
        """True if no chunk waits to be sent; some may be under way."""
        return not self._pending

    @property
    def _is_full(self) -> bool:
        is_long = self._pending_bytes >= self._max_batch_bytes
        return is_long or len(self._pending) >= self._max_batch_chunks or not self.takes_batches

    def due_at(self) -> float | None:
        """Return the loop time at which to send a batch, 0 for now; None if no chunk waits."""
        if not self._pending:
            return None
        is_urgent = self._is_full or self.flushed > self.acknowledged
        return 0.0 if is_urgent else self._since + self._flush_interval_s

    def has_room(self, size: int) -> bool:
        """Return whether a chunk fits into the buffer; any chunk fits into an empty one."""
        cost = size + CHUNK_BYTES
        return not self._held_bytes or self._held_bytes + cost <= self._max_held_bytes

    def take(self, chunk: bytes, clock: Callable[[], float]) -> bool:
        """Add a chunk; return whether it begins a batch, whose time runs from now, or fills it."""
        is_first = not self._pending
        if is_first:
            self._since = clock()
        self._pending.append(chunk)
        self._pending_bytes += len(chunk)
        self._held_bytes += len(chunk) + CHUNK_BYTES
        self.taken += 1
        return is_first or self._is_full

    def next_batch(self) -> list[bytes]:
        """Return the next batch, taken off the queue: within the limits, or a single chunk."""
        batch: list[bytes] = []
        size = 0
        most = self._max_batch_chunks if self.takes_batches else 1
        while self._pending and len(batch) < most:
            size += len(self._pending[0])
            if batch and size > self._max_batch_bytes:
                break
            batch.append(self._pending.popleft())
            self._pending_bytes -= len(batch[-1])
        return batch

    def halve(self, batch: list[bytes], *, is_too_long: bool) -> None:
        """Put a refused batch back; no later one has more than half of its bytes, or its chunks."""
        size = sum(map(len, batch))
        self._pending.extendleft(reversed(batch))
        self._pending_bytes += size
        if is_too_long:
            self._max_batch_bytes = size // 2
        else:
            self._max_batch_chunks = len(batch) // 2

    def acknowledge(self, batch: list[bytes]) -> None:
        """Count these chunks as stored by the server, and free their room in the buffer."""
        self.acknowledged += len(batch)
        self._held_bytes -= sum(map(len, batch)) + CHUNK_BYTES * len(batch)
