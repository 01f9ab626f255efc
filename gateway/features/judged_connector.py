"""Connections whose addresses are judged: each name is looked up once, for the connection."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from functools import partial
from typing import TYPE_CHECKING, Any

from aiohttp import ClientConnectorError, ClientPayloadError, TCPConnector
from aiohttp.abc import AbstractResolver
from aiohttp.client_proto import ResponseHandler
from typing_extensions import override

from gateway.errors import DestinationRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.abc import ResolveResult
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from gateway.settings.arrays.destinations import AllowedHosts

    # Returns the addresses of a name, for connections to a port.
    LookUp = Callable[[str, int, socket.AddressFamily], Awaitable[Sequence[str]]]


KEEP_ALIVE_S = 30.0  # servers close idle connections after a minute or more


async def addresses_of(host: str, port: int, family: socket.AddressFamily) -> Sequence[str]:
    """Return the addresses of a name as the system finds them. Raises OSError."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, family=family)
    return [str(place[0]) for _, _, _, _, place in found]


class AddressRefused(OSError):
    """The refusal of an address, as the client library passes errors of connections on."""

    def __init__(self, refusal: DestinationRefused) -> None:
        super().__init__(refusal.detail)
        self.refusal = refusal


class JudgedResolver(AbstractResolver):
    """A resolver that returns a name's addresses only if each of them may be connected to.

    The connection goes to these addresses: there is no second lookup, which could answer
    differently (DNS rebinding).
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
                self._hosts.check_address(host, port, address)
            except DestinationRefused as refusal:
                raise AddressRefused(refusal) from None
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


class CutOffConnection(ResponseHandler):
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


class JudgedConnector(TCPConnector):
    """A connector that judges the address of each new connection, also after a redirect.

    Which hosts get requests at all is judged before, by the URL.
    """

    def __init__(
        self,
        hosts: AllowedHosts,
        *,
        limit: int = 0,
        keepalive_timeout: float = KEEP_ALIVE_S,
        look_up: LookUp = addresses_of,
        longest_response: int | None = None,
    ) -> None:
        """Open up to `limit` connections at once, 0 for any number; each looks its name up.

        A response has up to `longest_response` bytes with everything that is around its body.
        """
        super().__init__(
            resolver=JudgedResolver(hosts, look_up),
            use_dns_cache=False,
            limit=limit,
            keepalive_timeout=keepalive_timeout,
        )
        self._allowed = hosts
        if longest_response is not None:
            self._factory = partial(CutOffConnection, longest_response, self._loop)  # type: ignore[assignment] # a subclass

    @override
    async def connect(
        self, req: ClientRequest, traces: list[Trace], timeout: ClientTimeout
    ) -> Connection:
        """Connect to the host of a request; an address in place of a name is judged here."""
        host, port = req.url.raw_host or "", req.url.port or 0
        try:
            self._allowed.check_address(host, port, ipaddress.ip_address(host))
        except DestinationRefused as refusal:
            raise ClientConnectorError(req.connection_key, AddressRefused(refusal)) from None
        except ValueError:
            pass  # a name: the resolver judges its addresses
        return await super().connect(req, traces, timeout)


def refusal_in(error: BaseException) -> DestinationRefused | None:
    """Return the refusal of an address that has caused an error of the client library, or None."""
    cause = error.os_error if isinstance(error, ClientConnectorError) else error
    return cause.refusal if isinstance(cause, AddressRefused) else None
