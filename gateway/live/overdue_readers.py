"""SSE readers whose time has ended amid a message: each may take the rest of it, if it reads.

Such a reader would get the same message from its beginning when it comes back, and would never get
past one that takes longer than `sse_max_age`.
"""

from __future__ import annotations

import fcntl
import struct
import termios
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asyncio import Transport

LEAST_RATE = 16 * 1024  # bytes a second; the largest append (16 MiB) takes 17 minutes
CHECK_S = 5.0  # between two looks at how much the readers have taken
# A client's window opens in steps of up to 400 KiB (a sixteenth of the largest tcp_rmem), which
# take 25 s at LEAST_RATE.
MOST_LAG = 30 * LEAST_RATE  # bytes


class Pace(NamedTuple):
    """The pace of an overdue reader at its last check, compared with LEAST_RATE."""

    unread: int  # bytes
    at: float  # loop time
    lag: float = 0.0  # bytes that it has taken too few

    def after(self, unread: int, now: float) -> Pace:
        """Return the pace at the next check; what was taken early does not count for later."""
        allowed = LEAST_RATE * (now - self.at)
        return Pace(unread, now, max(0.0, self.lag + allowed - (self.unread - unread)))


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
