"""Clients that do not keep up with what is written to them: slow ones stay, stuck ones are cut.

What counts is what the client's system acknowledges, as the kernel knows it: a full socket accepts
more only when a third of its buffer is free, which may be 1 MiB, so by the transport's own bytes a
slow client would seem to receive nothing for minutes.
"""

from __future__ import annotations

import fcntl
import socket
import struct
import termios
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Callable

    from headgate_gateway.routes.services import Timeouts

SWEEP_S = 0.5  # a slow client is noticed this much late at most
LOOKS = 10  # at a connection with unsent bytes within `http.body_timeout`; each takes 3 us
ROUNDS = 3  # looks for such connections meanwhile: of 100,000 readers each takes 1 us
# The window of a client's system that is full opens in steps: on one machine of 64 KiB, elsewhere
# of some KiB. A client that reads 1 KiB a second then seems to stand still for a minute. One that
# has received more without a pause has read faster: its standstill is not one of these steps.
STEP = 128 * 1024  # bytes; the buffer of Linux that the first step fills
STEP_TIMES = 4  # as long as others, may a client stand still that receives in such steps
_TCP_INFO = struct.Struct("=3xB20xI92xQ")  # tcpi_probes, tcpi_unacked and tcpi_bytes_acked
_NO_INFO = struct.Struct("i")


class Received(NamedTuple):
    """A client's progress in receiving what was written to its connection.

    `acknowledged` grows by what its system acknowledges, and `waiting` is what it has not yet.
    `answers` says that its system does, although its application may read nothing.
    """

    acknowledged: int  # bytes
    waiting: int  # bytes
    answers: bool


def received(transport: Transport) -> Received:
    """Return how far the client of a connection has received what was written to it."""
    unsent = transport.get_write_buffer_size()
    descriptor = _descriptor_of(transport)
    if descriptor < 0 or (transport.is_closing() and not unsent):
        return Received(-unsent, unsent, answers=False)
    waiting = unsent + _queued(descriptor)
    look = socket.socket(socket.AF_INET, socket.SOCK_STREAM, 0, descriptor)
    try:
        info = look.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:  # a Unix socket: its client is on this machine
        return Received(-waiting, waiting, answers=True)
    finally:
        look.detach()
    probes, in_flight, acknowledged = _TCP_INFO.unpack(info)
    return Received(acknowledged, waiting, answers=not (probes or in_flight))


def has_waiting(transport: Transport) -> bool:
    """Return whether the client has not acknowledged all that was written to it."""
    if transport.get_write_buffer_size():
        return True
    return not transport.is_closing() and _queued(_descriptor_of(transport)) > 0


def _descriptor_of(transport: Transport) -> int:
    """Return the file descriptor of a connection; -1 if it has none any more."""
    found = transport.get_extra_info("socket")
    return -1 if found is None else int(found.fileno())


def _queued(descriptor: int) -> int:
    try:
        queued: int = _NO_INFO.unpack(fcntl.ioctl(descriptor, termios.TIOCOUTQ, bytes(4)))[0]
    except (OSError, ValueError):  # it has just been closed
        return 0
    return queued


class Verdict(Enum):
    """The result of a look at a connection with unsent bytes."""

    RECEIVES = 0
    HAS_ALL = 1  # nothing waits any more
    IS_STUCK = 2


class UnsentWatch:
    """The watch on a connection with unsent bytes, from `now` on (loop time)."""

    __slots__ = ("_burst", "_last", "_moved_at", "_next_at", "_timeouts", "_transport")

    def __init__(self, transport: Transport, timeouts: Timeouts, now: float) -> None:
        self._transport = transport
        self._timeouts = timeouts
        self._last = received(transport)
        self._burst = max(0, self._last.acknowledged)  # bytes since the client last stood still
        self._moved_at = now
        self._next_at = now

    def look(self, now: float) -> Verdict:
        """Look whether the client receives at body_rate, or stands still for too long."""
        timeout_s = self._timeouts.body
        if now < min(self._next_at, self._moved_at + timeout_s):
            return Verdict.RECEIVES
        pause_s = timeout_s / LOOKS
        self._next_at = now + pause_s
        found, last = received(self._transport), self._last
        if not found.waiting:
            return Verdict.HAS_ALL
        taken = found.acknowledged - last.acknowledged
        least = max(1, min(last.waiting, int(self._timeouts.body_rate * timeout_s)))
        if taken >= least:
            stood_still = now - self._moved_at > 2 * pause_s + SWEEP_S
            self._burst = taken if stood_still else self._burst + taken
            self._last, self._moved_at = found, now
            return Verdict.RECEIVES
        if taken < 0:  # of a Unix socket: more was written meanwhile
            self._last = found
        is_slow = found.answers and self._burst <= STEP
        allowed_s = timeout_s * STEP_TIMES if is_slow else timeout_s
        return Verdict.IS_STUCK if now >= self._moved_at + allowed_s else Verdict.RECEIVES


class UnsentWatches:
    """The watches on the connections of a listener that have unsent bytes."""

    def __init__(self, timeouts: Timeouts, everyone: Callable[[], list[Transport]]) -> None:
        """Look in turn at all connections that `everyone` returns."""
        self._timeouts = timeouts
        self._everyone = everyone
        self._watches: dict[Transport, UnsentWatch] = {}
        self._round: list[Transport] = []  # connections that are still to be looked at
        self._lot = 1

    def __len__(self) -> int:
        return len(self._watches)

    def add(self, transport: Transport, now: float) -> None:
        """Watch a connection until its client has received everything."""
        if transport not in self._watches:
            self._watches[transport] = UnsentWatch(transport, self._timeouts, now)

    def stuck(self, now: float) -> list[Transport]:
        """Return the connections whose clients are stuck, and watch them no longer."""
        for transport in self._next_lot():
            if has_waiting(transport):
                self.add(transport, now)
        found = []
        for transport, watch in list(self._watches.items()):
            verdict = watch.look(now)
            if verdict is not Verdict.RECEIVES:
                del self._watches[transport]
            if verdict is Verdict.IS_STUCK:
                found.append(transport)
        return found

    def _next_lot(self) -> list[Transport]:
        """Return a part of all connections, so that no sweep takes long."""
        if not self._round:
            self._round = self._everyone()
            sweeps = max(1, int(self._timeouts.body / ROUNDS / SWEEP_S))
            self._lot = -(-len(self._round) // sweeps)
        lot = self._round[-self._lot :] if self._lot else []
        del self._round[-self._lot :]
        return lot
