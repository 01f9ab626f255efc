"""The writes that passed through the workers of one gateway, in memory that they share.

Each worker writes into a ring of its own before a write is answered, and reads the rings of the
others before it handles anything that a client sent. So a client that has the response to a write
can read that write through any worker: its next request finds the write in the ring.

No worker waits for another. A worker that was stopped, or is slow, reads what it has missed when it
continues, before it answers from its cache. If nothing was written in between, that costs the
comparison of 8 bytes for each worker.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from operator import itemgetter
from typing import TYPE_CHECKING
from zlib import crc32

import msgspec
from msgspec.structs import replace

from headgate_gateway.errors import StartError
from headgate_gateway.protocol.streams.state import Lifetime

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Write(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A write to a stream; with the defaults, anything in the stream may have changed."""

    prefix: str  # of the route
    path: str
    only_grown: bool = False  # the data before the old tail is unchanged
    deleted: bool = False
    hidden: bool = False  # a request without identity headers does not find it; others may
    created: Lifetime | None = None
    is_new: bool = False  # a stream was created, and replaced any earlier one at the path
    tail: str | None = None  # the stream's new end, if the origin has said it
    closed: bool = False
    removed_id: int | None = None  # of the removed stream, if it was hosted


# For each worker: some 8,000 writes, more than it passes on in a second. The others are woken
# within milliseconds; one that is further behind was stopped.
RING_BYTES = 1 << 20
_MARK = struct.calcsize("Q")
_PREFIX = struct.Struct("=II")  # length and checksum of the record that follows
_Stamped = tuple[int, Write]
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Stamped).decode


class RecordsLost(Exception):
    """An error for a ring that has dropped writes since it was last read."""


def share_memory(workers: int) -> int:
    """Return the descriptor of new shared memory for the journals of all workers.

    Raises StartError on a system without memfd_create, such as macOS.
    """
    if not hasattr(os, "memfd_create"):
        raise StartError("several workers need Linux (memfd_create): set workers = 1 here")
    descriptor = os.memfd_create("headgate-writes")
    os.ftruncate(descriptor, workers * (_MARK + RING_BYTES))
    return descriptor


class WriteJournal:
    """The view that one worker has of the shared memory.

    The memory begins with a mark for each worker: the number of bytes that it has ever written. The
    worker's ring has the last of them.
    """

    def __init__(
        self,
        descriptor: int,
        workers: int,
        number: int,
        on_announced: Callable[[], None] = lambda: None,
    ) -> None:
        """Start at the present end of each ring, as worker `number`, counted from 1.

        `on_announced` is called after each write of this worker.
        """
        self._memory = mmap.mmap(descriptor, workers * (_MARK + RING_BYTES))
        self._marks = memoryview(self._memory)[: workers * _MARK].cast("Q")
        self.number = number
        self._own = number - 1
        self._marks_bytes = workers * _MARK
        self._seen_marks = self._memory[: self._marks_bytes]
        self.losses = 0
        self._on_write: Callable[[Write], None] = lambda _: None
        self._on_loss: Callable[[], None] = lambda: None
        self._on_announced = on_announced

    def listen(self, on_write: Callable[[Write], None], on_loss: Callable[[], None]) -> None:
        """Call `on_write` for each write of another worker, in the order of their times.

        `on_loss` is called instead if some are no longer in the rings.
        """
        self._on_write, self._on_loss = on_write, on_loss

    def announce(self, write: Write) -> None:
        """Let the other workers see a write before they handle any later request."""
        stamped_at = time.monotonic_ns()
        try:
            data = _encode((stamped_at, write))
        except UnicodeEncodeError:  # the origin's offset is not valid text, so it is left out
            data = _encode((stamped_at, replace(write, tail=None, only_grown=False)))
        start = self._marks[self._own]
        record = _PREFIX.pack(len(data), _checksum(data, start)) + data
        if len(record) <= RING_BYTES:  # a longer one counts as lost
            self._put(start, record)
        # One machine word, written last: a worker that sees it finds the whole record.
        self._marks[self._own] = start + len(record)
        at = self._own * _MARK
        seen = self._memory[at : at + _MARK]
        self._seen_marks = self._seen_marks[:at] + seen + self._seen_marks[at + _MARK :]
        self._on_announced()

    def catch_up(self) -> None:
        """Process what the other workers have written since the last call."""
        marks = self._memory[: self._marks_bytes]
        if marks != self._seen_marks:
            self._read_up_to(marks)

    def _read_up_to(self, marks: bytes) -> None:
        spans = zip(_numbers(self._seen_marks), _numbers(marks), strict=True)
        self._seen_marks = marks
        try:
            found = [
                record
                for number, (start, end) in enumerate(spans)
                if number != self._own
                for record in self._records(number, start, end)
            ]
        except RecordsLost:
            self.losses += 1
            self._on_loss()
            return
        for _, write in sorted(found, key=itemgetter(0)):
            self._on_write(write)

    def _put(self, start: int, record: bytes) -> None:
        begin, at = self._begin_of(self._own), start % RING_BYTES
        fits = min(len(record), RING_BYTES - at)
        self._memory[begin + at : begin + at + fits] = record[:fits]
        self._memory[begin : begin + len(record) - fits] = record[fits:]

    def _get(self, ring: int, start: int, size: int) -> bytes:
        begin, at = self._begin_of(ring), start % RING_BYTES
        fits = min(size, RING_BYTES - at)
        return (
            self._memory[begin + at : begin + at + fits] + self._memory[begin : begin + size - fits]
        )

    def _begin_of(self, ring: int) -> int:
        return self._marks_bytes + ring * RING_BYTES

    def _records(self, ring: int, start: int, end: int) -> Iterator[_Stamped]:
        """Yield a worker's writes between two marks. Raises RecordsLost."""
        size = end - start
        if not 0 <= size <= RING_BYTES:
            raise RecordsLost
        data, at = self._get(ring, start, size), 0
        while at < size:
            # A record that is being overwritten by a later write does not match its checksum.
            if size - at < _PREFIX.size:
                raise RecordsLost
            length, checksum = _PREFIX.unpack_from(data, at)
            begin = at + _PREFIX.size
            record = data[begin : begin + length]
            if len(record) != length or checksum != _checksum(record, start + at):
                raise RecordsLost
            yield _decode(record)
            at = begin + length


def _checksum(data: bytes, position: int) -> int:
    """Return a checksum of bytes at a mark; on an earlier lap of the ring it would differ."""
    return crc32(data, position & 0xFFFFFFFF)


def _numbers(marks: bytes) -> tuple[int, ...]:
    return struct.unpack(f"{len(marks) // _MARK}Q", marks)
