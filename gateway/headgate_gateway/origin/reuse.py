"""The connections to one server: which of them the next request may use.

Some servers send a body behind the head of an answer that has none, in a packet of its own. The
next request on that connection gets that body as its answer, and each later one the answer to the
request before it. Such a surplus is only recognized while no request is out. So a connection rests
after an answer without a body, until its server has shown often enough that it sends nothing more.
A surplus marks the server, and everything made of the answers on that connection since it was last
silent is dropped. The server's other connections may have got a surplus, too: they rest before they
are closed, so that each of them shows its own.
"""

from __future__ import annotations

import asyncio
from array import array
from collections import deque
from contextlib import ExitStack
from fcntl import ioctl
from termios import FIONREAD
from time import monotonic
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from typing_extensions import override

from headgate_gateway.open_files import OPEN_FILES
from headgate_gateway.origin.heads import WHOLE, AnswerKind
from headgate_gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from headgate_gateway.origin.requests import OriginMetrics
    from headgate_gateway.origin.servers import OriginSettings

# Node closes a connection that was idle for 5 s, and tells nobody beforehand: a request that is
# on its way then is lost, and a write that is lost cannot be repeated. So we close it first.
KEEP_ALIVE_S = 4.0
# A connection that is never idle for SILENCE_S would never show a surplus: it rests after so long,
# or so many cached responses, so that no more than these have to be dropped: 100 KB.
LONGEST_UNKNOWN_S = 2.0
MOST_COPIES = 512

# A server writes head and body of an answer within this time, unless it is stopped in between: ten
# times what Python's http.server takes on a busy machine, and a round trip across an ocean.
SILENCE_S = 0.1
# Rests without a surplus until a server is trusted: one that answers in two ways, such as two
# processes at one address, has shown the other by then, but in one case of 60,000.
PROOFS = 16
# Connections of one server that rest at a time: more are closed, which costs a flood of HEADs to an
# untrusted server a connection each, and not the descriptors of all others.
MOST_RESTING = 64
# What servers and proxies say before they close an idle connection (RFC 9110, section 15.5.9).
TIMED_OUT = (b"HTTP/1.1 408 ", b"HTTP/1.0 408 ")
_unread = array("i", [0])

C = TypeVar("C", bound="SocketProtocol")


class ConnectionHistory:
    """The answers on a connection since it was last silent for SILENCE_S."""

    __slots__ = ("_drops", "has_bodyless", "is_doubted", "is_spoiled", "last", "over_at")

    def __init__(self) -> None:
        # Monotonic time after which the connection has to rest before its next request.
        self.over_at = monotonic() + LONGEST_UNKNOWN_S
        self.last: AnswerKind | None = None
        self.has_bodyless = False  # an answer among those that came
        self.is_doubted = False  # the server has sent a surplus on another connection meanwhile
        self.is_spoiled = False
        self._drops: dict[Hashable, Callable[[], object]] = {}

    def note(self, key: Hashable, drop: Callable[[], object]) -> bool:
        """Have `drop` called if the answer turns out to be another's; False if it has already."""
        if not self.is_spoiled:
            self._drops[key] = drop
            if len(self._drops) >= MOST_COPIES:
                self.over_at = 0.0
        return not self.is_spoiled

    def spoil(self) -> int:
        """Drop everything made of the answers; return how many drops there were."""
        self.is_spoiled = True
        drops, self._drops = self._drops, {}
        with ExitStack() as each:  # whatever one of them raises
            for drop in reversed(drops.values()):
                each.callback(drop)
        return len(drops)


class SocketProtocol(asyncio.Protocol):
    """A socket to a server, which pauses its other side, and is paused by it.

    While it `is_idle`, or at rest, there is no request on it.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, server_connections: ServerConnections[Any]
    ) -> None:
        self.server_connections = server_connections
        self.history = ConnectionHistory()
        self.is_idle = False
        self.has_place = False  # among the open files, which its pool has taken for it
        self.transport: asyncio.Transport | None = None  # None once it is closed, or lost
        self.connected = True  # as aiohttp's StreamReader asks
        self._loop = loop
        self._descriptor = -1  # the socket's descriptor; -1 before it is connected
        self._reading_paused = False  # as aiohttp's StreamReader asks
        self._drained: asyncio.Future[None] | None = None  # while it takes nothing to send

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment] # uvloop's class is no Transport
        # Asked for once: one kind of loop makes an object for it each time.
        self._descriptor = transport.get_extra_info("socket").fileno()

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        OPEN_FILES.servers -= self.has_place
        self.transport, self.connected = None, False

    @override
    def pause_writing(self) -> None:
        self._drained = self._loop.create_future()

    @override
    def resume_writing(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    async def send_more(self, data: bytes) -> None:
        """Send a part of the request's body once there is room for it."""
        if self._drained is not None:
            await self._drained
        if self.transport is not None:
            self.transport.write(data)

    def close(self) -> None:
        """Close the connection; what could not be sent yet is dropped."""
        transport, self.transport = self.transport, None
        if transport is not None:
            if transport.get_write_buffer_size():
                transport.abort()  # the other side may never take it
            else:
                transport.close()

    @property
    def has_unread(self) -> bool:
        """True while bytes wait in the socket that the event loop has not read yet."""
        if self._descriptor < 0 or self.transport is None or self.transport.is_closing():
            return False
        ioctl(self._descriptor, FIONREAD, _unread)
        return _unread[0] > 0

    def pause_reading(self) -> None:
        """Read nothing more: nobody takes the body as fast as it comes."""
        self._reading_paused = True
        if self.transport is not None:
            self.transport.pause_reading()

    def resume_reading(self, resume_parser: bool = True) -> None:  # noqa: ARG002
        """Read on."""
        if self._reading_paused:
            self._reading_paused = False
            if self.transport is not None:
                self.transport.resume_reading()


class ServerConnections(Generic[C]):
    """The connections to one server, and the surpluses that it has sent."""

    def __init__(self, name: str, settings: OriginSettings, figures: OriginMetrics) -> None:
        self.name = name
        self.settings = settings
        self.open: set[C] = set()
        # With monotonic times; the connection that was used last is at the end.
        self.idle: deque[tuple[C, float]] = deque()
        self.resting = 0
        self.silent_rests = dict.fromkeys(AnswerKind, 0)  # by the answer before the rest
        self.closes = False  # connections after an answer without a body
        self.closes_all = False  # and after all others
        self._figures = figures
        self._lines = RareLine("origin.surplus")
        self._sweep: asyncio.TimerHandle | None = None

    def acquire(self) -> C | None:
        """Return the idle connection that was used last, or None."""
        while self.idle:
            connection, used_at = self.idle.pop()
            transport, now = connection.transport, monotonic()
            idle_s = now - used_at
            if idle_s > KEEP_ALIVE_S or transport is None or transport.is_closing():
                connection.close()
            elif idle_s >= SILENCE_S and connection.has_unread:
                self._rest(connection)  # the loop is about to read it
            else:
                connection.is_idle = False
                if idle_s >= SILENCE_S:
                    connection.history = ConnectionHistory()
                elif connection.history.is_doubted:
                    self.give_back(connection)  # to rest
                    continue
                return connection
        return None

    def give_back(self, connection: C) -> None:
        """Keep a connection whose answer was read for another request, or close it."""
        history, now = connection.history, monotonic()
        kind, is_doubted = history.last, history.is_doubted
        if self.closes and self._may_spill_after(history) and not is_doubted:
            connection.close()
        elif not (
            is_doubted
            or now > history.over_at
            or (kind is not WHOLE and kind is not None and self.silent_rests[kind] < PROOFS)
        ):
            connection.is_idle = True
            self.idle.append((connection, now))
            if self._sweep is None:
                self._sweep_in(KEEP_ALIVE_S)
        elif self.resting < MOST_RESTING:
            self._rest(connection)
        else:
            connection.close()

    def _may_spill_after(self, history: ConnectionHistory) -> bool:
        """Return whether the server has sent a surplus after such answers before."""
        return self.closes_all or (self.closes and history.has_bodyless)

    def _rest(self, connection: C) -> None:
        """Keep a connection from being used for a while."""
        connection.is_idle = True
        self.resting += 1
        asyncio.get_running_loop().call_later(SILENCE_S, self._rested, connection)

    def _rested(self, connection: C) -> None:
        self.resting -= 1
        if connection.has_unread:  # another loop may run timers before it reads
            self._rest(connection)
            return
        transport, history = connection.transport, connection.history
        if transport is None or transport.is_closing() or self._may_spill_after(history):
            connection.close()
            return
        if history.last is not None:
            self.silent_rests[history.last] += 1
        connection.history = ConnectionHistory()
        # The last to be used: what comes later than a rest most probably finds it idle.
        self.idle.appendleft((connection, monotonic()))
        if self._sweep is None:
            self._sweep_in(KEEP_ALIVE_S)

    def _sweep_in(self, wait_s: float) -> None:
        self._sweep = asyncio.get_running_loop().call_later(wait_s, self._close_old)

    def _close_old(self) -> None:
        """Close what was idle for too long."""
        self._sweep = None
        oldest = monotonic() - KEEP_ALIVE_S
        for one in [one for one in self.idle if one[1] <= oldest]:
            self.idle.remove(one)
            one[0].close()
        if self.idle:
            self._sweep_in(max(0.0, min(used_at for _, used_at in self.idle) - oldest))

    def on_surplus(self, connection: C, data: bytes) -> None:
        """Mark the server, because bytes came that were no part of an answer.

        What was made of the answers on the connection is dropped.
        """
        history, kind = connection.history, connection.history.last or WHOLE
        if kind is WHOLE and connection.is_idle and data.startswith(TIMED_OUT):
            return  # the server closes the connection, as we do
        self.closes = True
        if kind is WHOLE and not history.has_bodyless:
            self.closes_all = True
        dropped = history.spoil()
        for other in self.open:
            if other.history.last and self._may_spill_after(other.history):
                other.history.is_doubted = True
        self._figures.surpluses[kind.value] += 1
        self._figures.distrusted += dropped
        self._lines.note(server=self.name, behind=kind.value, dropped=str(dropped))

    def close(self) -> None:
        """Close every connection, and write the last log line, if one is due."""
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self.open):
            connection.close()
        self._lines.close()
