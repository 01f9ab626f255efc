"""The connections to an origin: they are made here, to one of the addresses of each server."""

from __future__ import annotations

import asyncio
import socket
from time import monotonic
from typing import TYPE_CHECKING

import aiohappyeyeballs

from headgate_gateway import trust
from headgate_gateway.errors import LimitReached
from headgate_gateway.open_files import OPEN_FILES, NoFileLeft
from headgate_gateway.origin.connection import OriginConnection
from headgate_gateway.origin.requests import why_unreachable
from headgate_gateway.origin.reuse import ServerConnections

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable, Sequence

    from aiohappyeyeballs import AddrInfoType

    from headgate_gateway.origin.requests import OriginMetrics
    from headgate_gateway.origin.servers import OriginServer, OriginSettings

# A server's next address is tried after so long, beside the one before (RFC 8305, section 5).
EYEBALLS_S = 0.25
ADDRESSES_S = 10.0  # for so long the addresses of a name are used: each look-up takes a thread


class ConnectionPool:
    """The connections to the servers of one origin."""

    def __init__(
        self, servers: Iterable[OriginServer], settings: OriginSettings, figures: OriginMetrics
    ) -> None:
        self._tls: ssl.SSLContext | None = None
        self.by_server: dict[OriginServer, ServerConnections[OriginConnection]] = {
            one: ServerConnections(one.authority, settings, figures) for one in servers
        }
        self._settings = settings
        self._connecting = 0
        # By host name and port, with the monotonic time of the look-up.
        self._addresses: dict[tuple[str, int], tuple[Sequence[AddrInfoType], float]] = {}

    def open(self) -> None:
        """Read the authorities to trust, if any are needed. Raises StartError."""
        authorities = self._settings.tls_ca
        # To read the system's takes 30 ms.
        if any(server.speaks_tls for server in self.by_server) or authorities:
            self._tls = trust.context(authorities)

    async def connect(self, server: OriginServer, *, is_pooled: bool = True) -> OriginConnection:
        """Return a new connection, which is closed after its first answer unless it `is_pooled`.

        Raises OSError; TimeoutError among them.
        """
        connections = self.by_server[server]
        self._connecting += 1
        OPEN_FILES.servers += 1
        connection: OriginConnection | None = None
        try:
            connection = await self._connected(connections, server, is_pooled=is_pooled)
            return connection
        finally:
            self._connecting -= 1
            if connection is not None and connection.connected:
                connection.has_place = True
                connections.open.add(connection)
            else:
                OPEN_FILES.servers -= 1

    def check_files(self) -> None:
        """Raise LimitReached if another connection would take the files of others."""
        try:
            made = sum(len(it.open) for it in self.by_server.values())
            OPEN_FILES.check_server(made + self._connecting)
        except NoFileLeft as error:
            raise LimitReached(str(error), ends_connection=True) from None

    async def _connected(
        self,
        connections: ServerConnections[OriginConnection],
        server: OriginServer,
        *,
        is_pooled: bool,
    ) -> OriginConnection:
        async with asyncio.timeout(self._settings.connect_timeout):
            # Made before the socket, which asyncio would not close if that raised.
            loop = asyncio.get_running_loop()
            connection = OriginConnection(loop, connections, is_pooled=is_pooled)
            await self._connect(server, connection)
        return connection

    async def _connect(self, server: OriginServer, connection: OriginConnection) -> None:
        """Connect to one of the addresses; to another one if the handshake with one fails."""
        loop = asyncio.get_running_loop()
        addresses = await self._addresses_of(server.endpoint)
        tls = self._tls if server.speaks_tls else None
        name = None if tls is None else server.endpoint[0].rstrip(".")
        while True:
            made = await aiohappyeyeballs.start_connection(
                addresses, happy_eyeballs_delay=EYEBALLS_S, interleave=1, loop=loop
            )
            peer = None if tls is None else made.getpeername()
            try:
                await loop.create_connection(
                    lambda: connection, sock=made, ssl=tls, server_hostname=name
                )
            except OSError:
                if peer is None:
                    raise
                aiohappyeyeballs.remove_addr_infos(addresses, peer)
                if not addresses:
                    raise
            else:
                return

    async def _addresses_of(self, endpoint: tuple[str, int]) -> list[AddrInfoType]:
        """Return the addresses to connect to. Raises OSError."""
        known = self._addresses.get(endpoint)
        if known is None or monotonic() - known[1] >= ADDRESSES_S:
            known = self._addresses[endpoint] = await _look_up(*endpoint), monotonic()
        return list(known[0])

    async def why_unreachable(self, server: OriginServer) -> str | None:
        """Connect as a request would; return why that failed, or None."""
        try:
            connection = await self.connect(server, is_pooled=False)
        except OSError as error:
            return why_unreachable(error, self._settings.connect_timeout)
        connection.close()
        return None

    def close(self) -> None:
        """Close every connection."""
        for connections in self.by_server.values():
            connections.close()


async def _look_up(host: str, port: int) -> Sequence[AddrInfoType]:
    kind = socket.SOCK_STREAM
    try:  # without a thread, which a name takes
        return socket.getaddrinfo(host, port, type=kind, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        loop = asyncio.get_running_loop()
        return await loop.getaddrinfo(host, port, type=kind, flags=socket.AI_ADDRCONFIG)
