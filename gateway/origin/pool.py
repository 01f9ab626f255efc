"""The connections to the servers of an origin: how they are made, kept and closed."""

from __future__ import annotations

import asyncio
import socket
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

import aiohappyeyeballs
from typing_extensions import override

from gateway.origin.connection import OriginConnection
from gateway.origin.heads import WHOLE
from gateway.origin.in_step import KEEP, REST, REST_S, TIMED_OUT, ConnectionHistory, ServerBehaviour
from gateway.origin.requests import why_unreachable

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from aiohappyeyeballs import AddrInfoType

    from gateway.origin.in_step import Surpluses
    from gateway.origin.servers import OriginServer

# Node closes a connection that was idle for 5 s, and tells nobody beforehand: a request that is
# on its way then is lost, and a write that is lost cannot be repeated. So we close it first.
KEEP_ALIVE_S = 4.0
# A server's next address is tried after so long, beside the one before (RFC 8305, section 5).
EYEBALLS_S = 0.25
ADDRESSES_S = 10.0  # for so long the addresses of a name are used: each look-up takes a thread


class _Place:
    """The address of servers, and the idle connections to it, the one that was used last behind."""

    def __init__(self, server: OriginServer) -> None:
        self.behaviour = ServerBehaviour(server.authority)
        self.host, self.port = server.endpoint
        self.speaks_tls = server.speaks_tls
        self.idle: deque[tuple[OriginConnection, float]] = deque()  # with monotonic times
        self._addresses: Sequence[AddrInfoType] = ()
        self._looked_up_at = -ADDRESSES_S  # monotonic time

    async def addresses(self) -> list[AddrInfoType]:
        """Return the addresses to connect to. Raises OSError."""
        if monotonic() - self._looked_up_at >= ADDRESSES_S:
            self._addresses, self._looked_up_at = await self._look_up(), monotonic()
        return list(self._addresses)

    async def _look_up(self) -> Sequence[AddrInfoType]:
        host, port, kind = self.host, self.port, socket.SOCK_STREAM
        try:  # without a thread, which a name takes
            return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            loop = asyncio.get_running_loop()
            return await loop.getaddrinfo(host, port, type=kind, flags=socket.AI_ADDRCONFIG)


class ConnectionPool:
    """The connections to one origin; it gives out none whose next answer may be another's."""

    def __init__(self, surpluses: Surpluses, connect_timeout: float, read_timeout_s: float) -> None:
        self.tls: ssl.SSLContext | None = None
        self._surpluses = surpluses
        self._connect_timeout = connect_timeout
        self.read_timeout_s = read_timeout_s  # between two parts of an answer's body
        self._places: dict[str, _Place] = {}
        self._of_server: dict[OriginServer, _Place] = {}
        self._open: dict[OriginConnection, _Place] = {}
        self._sweep: asyncio.TimerHandle | None = None
        self._is_closed = False

    @override
    def __repr__(self) -> str:
        return f"ConnectionPool({len(self._open)} open, {self.idle_count()} idle)"

    def idle_count(self) -> int:
        """Return how many connections may be taken at once."""
        kept = [one for place in self._places.values() for one, _ in place.idle]
        return sum(connection.transport is not None for connection in kept)

    def _place(self, server: OriginServer) -> _Place:
        """Return the place of a server, which those at one address share."""
        place = self._of_server.get(server)
        if place is None:
            place = self._places.get(server.origin)
            if place is None:
                place = self._places[server.origin] = _Place(server)
            self._of_server[server] = place
        return place

    async def connect(self, server: OriginServer, *, is_pooled: bool = True) -> OriginConnection:
        """Return a new connection, which is closed after its first answer unless it `is_pooled`.

        Raises OSError; TimeoutError among them.
        """
        place = self._place(server)
        async with asyncio.timeout(self._connect_timeout):
            # Made before the socket, which asyncio would not close if that raised.
            loop = asyncio.get_running_loop()
            connection = OriginConnection(loop, self, place.behaviour, is_pooled=is_pooled)
            await self._connect(place, connection)
        self._open[connection] = place
        return connection

    async def _connect(self, place: _Place, connection: OriginConnection) -> None:
        """Connect to one of the addresses; to another one if the handshake with one fails."""
        loop = asyncio.get_running_loop()
        addresses = await place.addresses()
        tls = self.tls if place.speaks_tls else None
        name = None if tls is None else place.host.rstrip(".")
        while True:
            made = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=EYEBALLS_S, interleave=1, loop=loop
            )
            if tls is None:
                await loop.create_connection(lambda: connection, sock=made)
                return
            peer = made.getpeername()
            try:
                await loop.create_connection(
                    lambda: connection, sock=made, ssl=tls, server_hostname=name
                )
            except OSError:
                aiohappyeyeballs.remove_addr_infos(addresses, peer)
                if not addresses:
                    raise
            else:
                return

    def acquire(self, server: OriginServer) -> OriginConnection | None:
        """Return the idle connection that was used last, or None."""
        place = self._of_server.get(server)
        idle = None if place is None else place.idle
        while idle:
            connection, used_at = idle.pop()
            now = monotonic()
            transport = connection.transport
            if used_at < now - KEEP_ALIVE_S or transport is None or transport.is_closing():
                connection.close()
            elif now - used_at >= REST_S and connection.has_unread:
                self._rest(connection, now)  # the loop is about to read it
            elif now - used_at < REST_S and connection.history.is_doubted:
                connection.is_idle = False
                self.give_back(connection)  # to rest
            else:
                if now - used_at >= REST_S:
                    connection.history = ConnectionHistory()
                connection.is_idle = False
                return connection
        return None

    def give_back(self, connection: OriginConnection) -> None:
        """Keep a connection for another request, if its server may be asked on it again."""
        now = monotonic()
        verdict = connection.server.judge(connection.history, now)
        if verdict is KEEP and not self._is_closed:
            connection.is_idle = True
            self._open[connection].idle.append((connection, now))
            if self._sweep is None:
                self._sweep_soon(KEEP_ALIVE_S)
        elif verdict is REST:
            self._rest(connection, now)
        else:
            connection.close()

    def _sweep_soon(self, wait_s: float) -> None:
        self._sweep = asyncio.get_running_loop().call_later(wait_s, self._close_old)

    def _close_old(self) -> None:
        """Close what was idle for too long."""
        oldest = monotonic() - KEEP_ALIVE_S
        self._sweep = None
        for place in self._places.values():
            old = [one for one in place.idle if one[1] <= oldest]
            for one in old:
                place.idle.remove(one)
                one[0].close()
        used = [used_at for place in self._places.values() for _, used_at in place.idle]
        if used:
            self._sweep_soon(max(0.0, min(used) - oldest))

    def _rest(self, connection: OriginConnection, now: float) -> None:
        """Keep a connection from being used for a while."""
        connection.is_idle = True
        connection.server.begin_rest(connection.history, now)
        asyncio.get_running_loop().call_later(REST_S, self._rested, connection)

    def _rested(self, connection: OriginConnection) -> None:
        if connection.has_unread:  # another loop may run timers before it reads
            connection.server.end_rest(connection.history, is_silent=False)
            self._rest(connection, monotonic())
            return
        transport = connection.transport
        is_silent = transport is not None and not transport.is_closing()
        is_kept = connection.server.end_rest(connection.history, is_silent=is_silent)
        if is_kept and not self._is_closed:
            connection.history = ConnectionHistory()
            # The last to be used: what comes later than a rest most probably finds it idle.
            self._open[connection].idle.appendleft((connection, monotonic()))
            if self._sweep is None:
                self._sweep_soon(KEEP_ALIVE_S)
        else:
            connection.close()

    def on_closed(self, connection: OriginConnection) -> None:
        """Forget a connection that has ended."""
        self._open.pop(connection, None)

    def on_surplus(self, connection: OriginConnection, data: bytes) -> None:
        """Note bytes that were no part of an answer."""
        server, history = connection.server, connection.history
        is_whole = history.last in {None, WHOLE}
        if is_whole and connection.is_idle and data.startswith(TIMED_OUT):
            return  # the server closes the connection, as we do
        others = [one.history for one in self._open if one.server is server]
        self._surpluses.note(server, history, others)

    async def why_unreachable(self, server: OriginServer) -> str | None:
        """Connect as a request would; return why that failed, or None."""
        try:
            connection = await self.connect(server, is_pooled=False)
        except OSError as error:
            return why_unreachable(error, self._connect_timeout)
        connection.close()
        return None

    def close(self) -> None:
        """Close every connection."""
        self._is_closed = True
        if self._sweep is not None:
            self._sweep.cancel()
        for connection in list(self._open):
            connection.close()
