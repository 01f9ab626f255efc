"""Connections whose addresses are judged: each name is looked up once, for the connection."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import TYPE_CHECKING

from aiohttp import ClientConnectorError, TCPConnector
from aiohttp.abc import AbstractResolver
from typing_extensions import override

from gateway.errors import DestinationRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from aiohttp import ClientRequest, ClientTimeout
    from aiohttp.abc import ResolveResult
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from gateway.protocol.http.destinations import AllowedHosts

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
    ) -> None:
        """Open up to `limit` connections at once, 0 for any number; each looks its name up."""
        super().__init__(
            resolver=JudgedResolver(hosts, look_up),
            use_dns_cache=False,
            limit=limit,
            keepalive_timeout=keepalive_timeout,
        )
        self._allowed = hosts

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
