"""SSE readers whose time has ended amid a message: each may take the rest of it, if it reads.

Such a reader would get the same message from its beginning when it comes back, and would never get
past one that takes longer than `sse_max_age`.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from math import inf
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Callable, Iterator

LEAST_RATE = 16 * 1024  # bytes a second; the largest append (16 MiB) takes 17 minutes
CHECK_S = 5.0  # between two looks at how much the readers have taken
# A client's window opens in steps of up to 400 KiB (a sixteenth of the largest tcp_rmem), which
# take 25 s at LEAST_RATE.
MOST_BEHIND = 30 * LEAST_RATE  # bytes


R = TypeVar("R")


class _Pace(NamedTuple):
    """The bytes that a reader had not received at its last check, and its lag in bytes."""

    unread: int
    lag: float  # behind LEAST_RATE


class OverdueReaders(Generic[R]):
    """The overdue readers of a feed; `due` is the time of their next check (loop time)."""

    __slots__ = ("_checked_at", "_paces", "_unread_bytes", "due")

    def __init__(self, unread_bytes: Callable[[R], int]) -> None:
        """Call `unread_bytes` for the number of written bytes that a reader has not received."""
        self._unread_bytes = unread_bytes
        self._paces: dict[R, _Pace] = {}
        self._checked_at = 0.0
        self.due = inf

    def __len__(self) -> int:
        return len(self._paces)

    def __contains__(self, reader: object) -> bool:
        return reader in self._paces

    def __iter__(self) -> Iterator[R]:
        return iter(list(self._paces))

    def add(self, reader: R, now: float) -> None:
        """Let a reader take the rest of its message."""
        if not self._paces:
            self._checked_at, self.due = now, now + CHECK_S
        self._paces[reader] = _Pace(self._unread_bytes(reader), 0.0)

    def discard(self, reader: R) -> bool:
        """Remove a reader; return whether it was overdue."""
        was_overdue = self._paces.pop(reader, None) is not None
        if not self._paces:
            self.due = inf
        return was_overdue

    def too_slow(self, now: float) -> list[R]:
        """Return the readers that fell too far behind LEAST_RATE, if a check is due."""
        if now < self.due:
            return []
        allowed = LEAST_RATE * (now - self._checked_at)
        self._checked_at, self.due = now, now + CHECK_S
        for reader, (before, lag) in self._paces.items():
            unread = self._unread_bytes(reader)
            self._paces[reader] = _Pace(unread, max(0.0, lag + allowed - (before - unread)))
        return [reader for reader, pace in self._paces.items() if pace.lag > MOST_BEHIND]


def unread_bytes(transport: Transport) -> int:
    """Return the number of bytes that the peer has not acknowledged.

    A full socket accepts more when a third of its buffer is free, which may be 1 MiB: by the
    transport's own bytes alone, a slow client would seem to read nothing for a minute.
    """
    unsent = transport.get_write_buffer_size()
    descriptor = transport.get_extra_info("descriptor")
    if descriptor is None:
        descriptor = transport.get_extra_info("socket").fileno()
    try:
        queued: int = struct.unpack("i", fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    except (OSError, ValueError):  # it has just been closed
        return unsent
    return unsent + queued
