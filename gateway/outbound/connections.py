"""Connections of outbound requests; those to hosts that clients name go to checked addresses.

A name is looked up once for a connection, which goes to the addresses that were checked: a second
lookup could answer differently (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectorError, ClientPayloadError, TCPConnector
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

from gateway import trust
from gateway.errors import DestinationRefused
from gateway.open_files import OPEN_FILES

if TYPE_CHECKING:
    import ssl
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.abc import ResolveResult
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

    from gateway.protocol.http.destinations import AllowedHosts

    # Returns the addresses of a name, for connections to a port.
    LookUp = Callable[[str, int, socket.AddressFamily], Awaitable[Sequence[str]]]


KEEP_ALIVE_S = 30.0  # servers close idle connections after a minute or more


@cache
def system_trust() -> ssl.SSLContext:
    """Return the TLS context of all outbound requests, which trusts the system's authorities.

    aiohttp's own context trusts none in a server (`trust.without_authorities`).
    """
    return trust.context()


async def tls_of(url: URL) -> ssl.SSLContext | bool:
    """Return how to speak TLS with a server; the authorities are loaded for the first that does.

    They take 2 MB, and 20 ms of a thread.
    """
    if url.scheme != "https":
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
    """A resolver that returns a name's addresses only if each of them may be connected to."""

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


class CountedConnection(ResponseHandler):
    """A connection that counts among the open files of this process."""

    has_place = False  # which its connector has taken for it

    @override
    def connection_lost(self, exc: BaseException | None) -> None:
        OPEN_FILES.servers -= self.has_place
        super().connection_lost(exc)


class BoundedConnection(CountedConnection):
    """A connection that is closed once a response has more bytes than so many on the wire.

    The client library bounds header fields and waits for whoever reads a body. But what is neither
    has no bound: interim responses, and the extensions of chunks.
    """

    def __init__(self, most: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
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
        self._factory = partial(CountedConnection, self._loop)  # type: ignore[assignment] # a subclass
        if longest_response is not None:
            self._factory = partial(BoundedConnection, longest_response, self._loop)  # type: ignore[assignment] # as above

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
            if isinstance(made, CountedConnection) and made.is_connected():
                made.has_place = True
            else:
                OPEN_FILES.servers -= 1
