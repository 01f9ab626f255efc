"""Connections of outbound requests; those to hosts that clients name go to checked addresses.

A name is looked up once for a connection, which goes to the addresses that were checked: a second
lookup could answer differently (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import fcntl
import ipaddress
import socket
import termios
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectorError, ClientPayloadError, TCPConnector
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

from headgate_gateway import trust
from headgate_gateway.errors import DestinationRefused
from headgate_gateway.open_files import OPEN_FILES
from headgate_gateway.outbound.ways import CONNECT_S, WAY, is_at_proxy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import BaseConnector, ClientRequest, ClientTimeout
    from aiohttp.abc import ResolveResult
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

    from headgate_gateway.protocol.http.destinations import AllowedHosts

    # Returns the addresses of a name, for connections to a port.
    LookUp = Callable[[str, int, socket.AddressFamily], Awaitable[Sequence[str]]]


KEEP_ALIVE_S = 30.0  # servers close idle connections after a minute or more


@cache
def system_trust() -> ssl.SSLContext:
    """Return the TLS context of all outbound requests, which trusts the system's authorities.

    aiohttp's own context trusts none in a server (`trust.without_authorities`).
    """
    return trust.context()


async def tls_of(*urls: URL) -> ssl.SSLContext | bool:
    """Return how to speak TLS with servers; the authorities are loaded for the first that does.

    They take 2 MB, and 20 ms of a thread.
    """
    if all(url.scheme != "https" for url in urls):
        return True
    if not system_trust.cache_info().currsize:
        await asyncio.to_thread(system_trust)
    return system_trust()


async def addresses_of(host: str, port: int, family: socket.AddressFamily) -> Sequence[str]:
    """Return the addresses of a name as the system finds them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
    return [str(place[0]) for _, _, _, _, place in found]


class AddressRefused(OSError):
    """The refusal of an address, as the client library passes errors of connections on."""


class CheckedResolver(AbstractResolver):
    """A resolver that returns a name's addresses only if each of them may be connected to.

    A proxy is the operator's, so its addresses are not checked.
    """

    def __init__(self, hosts: AllowedHosts, look_up: LookUp) -> None:
        self._hosts = hosts
        self._look_up = look_up

    @override
    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        results: list[ResolveResult] = []
        for found in await self._look_up(host, port, family):
            address = ipaddress.ip_address(found)
            try:
                if not is_at_proxy():
                    self._hosts.check_address(host, port, address)
            except DestinationRefused as refusal:
                raise AddressRefused(refusal.detail) from None
            results.append(
                {
                    "hostname": host,
                    "host": found,
                    "port": port,
                    "family": socket.AF_INET if address.version == 4 else socket.AF_INET6,
                    "proto": socket.IPPROTO_TCP,
                    "flags": socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
                }
            )
        return results

    @override
    async def close(self) -> None:
        """Do nothing: the lookups are the system's."""


class ResponseTooLong(ClientPayloadError):
    """A response that has more bytes than it may have."""


class OutboundConnection(ResponseHandler):
    """A connection that keeps nothing of a request once that has ended.

    It is among its client's `connections`, and counts among the open files of this process, while
    its descriptor is open.
    """

    has_place = False  # among the open files, which its connector has taken for it

    def __init__(
        self, connections: set[OutboundConnection], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(loop)
        self._connections = connections
        self._made: asyncio.Transport | None = None  # also after `close`

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._made = self.transport
        self._connections.add(self)

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        self._connections.discard(self)
        OPEN_FILES.servers -= self.has_place
        self._made = None
        super().connection_lost(exc)

    def hand_over(self) -> None:
        """Forget the transport: another connection goes on with it, through a tunnel."""
        self._connections.discard(self)
        self._made = None

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the server has not taken, nor the system for it."""
        return 0 if self._made is None else self._made.get_write_buffer_size()

    @property
    @override
    def should_close(self) -> bool:
        return super().should_close or self.unsent_bytes > 0 or self._may_have_more()

    def _may_have_more(self) -> bool:
        """Return whether TLS may keep bytes: while the system has some that are not acknowledged.

        What TLS has encrypted waits for the system, and is in no count.
        """
        made = self._made
        if made is None or made.get_extra_info("sslcontext") is None:
            return False
        try:
            queued = fcntl.ioctl(made.get_extra_info("socket"), termios.TIOCOUTQ, bytes(4))
        except (OSError, TypeError, ValueError):  # it has just been closed
            return False
        return any(queued)

    @override
    def close(self) -> None:
        """Close the connection; drop what was not sent: the server may never take it.

        TLS may have 64 KiB more, which it does not tell of: its connections are closed at once.
        """
        made = self._made
        if made is not None and (self.unsent_bytes or made.get_extra_info("sslcontext")):
            self.abort()
        else:
            super().close()


class BoundedConnection(OutboundConnection):
    """A connection that is closed once a response has more bytes than so many on the wire.

    The client library bounds header fields and waits for whoever reads a body. But what is neither
    has no bound: interim responses, and the extensions of chunks.
    """

    def __init__(
        self, most: int, connections: set[OutboundConnection], loop: asyncio.AbstractEventLoop
    ) -> None:
        super().__init__(connections, loop)
        self._most = self._left = most

    @override
    def set_response_params(self, **params: Any) -> None:
        self._left = self._most
        super().set_response_params(**params)

    @override
    def data_received(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left >= 0:
            super().data_received(data)
        elif self.transport is not None:
            self.transport.abort()
            self.set_exception(ResponseTooLong("the response is too long"))


def keep_in(connections: set[OutboundConnection], connector: BaseConnector) -> None:
    """Let the next connections of a connector be kept in a set while they are open."""
    most, loop = getattr(connector, "longest_response", None), connector._loop
    factory = (
        partial(OutboundConnection, connections, loop)
        if most is None
        else partial(BoundedConnection, most, connections, loop)
    )
    connector._factory = factory  # type: ignore[assignment] # of subclasses


def idle_connections(connector: BaseConnector) -> int:
    """Return how many open connections of a connector wait for the next request."""
    return sum(map(len, connector._conns.values()))


class Connector(TCPConnector):
    """A connector that may check the address of each new connection, also after a redirect.

    Which hosts get requests at all is decided before, by the URL.
    """

    def __init__(
        self,
        hosts: AllowedHosts | None = None,
        *,
        limit: int = 0,
        look_up: LookUp = addresses_of,
        longest_response: int | None = None,
    ) -> None:
        """Open up to `limit` connections at once, 0 for any number.

        With `hosts`, each connection looks its name up and may go only where they allow; without,
        it may go anywhere. A response has up to `longest_response` bytes with everything that is
        around its body.
        """
        checks: dict[str, Any] = {}
        if hosts is not None:
            checks = {"resolver": CheckedResolver(hosts, look_up), "use_dns_cache": False}
        super().__init__(limit=limit, keepalive_timeout=KEEP_ALIVE_S, **checks)
        self._allowed = hosts
        self.longest_response = longest_response

    @override
    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> Connection:
        """Connect to the host of a request; an address in place of a name is checked here."""
        if self._allowed is not None:
            host, port = req.url.raw_host or "", req.url.port or 0
            try:
                self._allowed.check_address(host, port, ipaddress.ip_address(host))
            except DestinationRefused as refusal:
                refused = AddressRefused(refusal.detail)
                raise ClientConnectorError(req.connection_key, refused) from None
            except ValueError:
                pass  # a name: the resolver checks its addresses
        return await super().connect(req, traces, timeout)

    @override
    async def _create_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> ResponseHandler:
        """Return a new connection. Raises NoFileLeft if it would take the files of others."""
        # Those under way are among the acquired ones already, this one as well.
        OPEN_FILES.check_server(len(self._acquired) - 1)
        OPEN_FILES.servers += 1
        made: ResponseHandler | None = None
        try:
            made = await super()._create_connection(req, traces, timeout)
            return made
        finally:
            if isinstance(made, OutboundConnection) and made.is_connected():
                made.has_place = True
            else:
                OPEN_FILES.servers -= 1

    @override
    async def _create_proxy_connection(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """Return a new connection that leads through a proxy, within `CONNECT_S`."""
        way = WAY.get()
        assert way is not None, "nothing else names a proxy"
        way.is_at_proxy = True
        async with asyncio.timeout(CONNECT_S):
            made = await super()._create_proxy_connection(req, traces, timeout)
        way.is_at_proxy = False
        return made

    @override
    async def _start_tls_connection(
        self,
        underlying_transport: asyncio.Transport,
        req: ClientRequest,
        timeout: ClientTimeout,
        client_error: type[Exception] = ClientConnectorError,
    ) -> tuple[asyncio.BaseTransport, ResponseHandler]:
        """Speak TLS with a server through the tunnel that its proxy has opened."""
        way, tunnel = WAY.get(), underlying_transport.get_protocol()
        assert way is not None, "nothing else opens a tunnel"
        way.is_at_proxy = False
        try:
            return await super()._start_tls_connection(
                underlying_transport, req, timeout, client_error
            )
        finally:
            if isinstance(tunnel, OutboundConnection):
                tunnel.hand_over()
