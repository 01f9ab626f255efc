"""The client for requests that Headgate makes itself: their trust, bounds, deadlines and counts."""

from __future__ import annotations

import asyncio
import random
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, NamedTuple

import aiohttp
from aiohttp import ClientResponse, ClientSession, ClientTimeout, DummyCookieJar, hdrs
from multidict import CIMultiDict
from yarl import URL

from headgate.retries import Backoff
from headgate_gateway.errors import drop_frames
from headgate_gateway.open_files import NoFileLeft
from headgate_gateway.origin.heads import HEAD_BYTES
from headgate_gateway.origin.reader import HEADER_LINES
from headgate_gateway.outbound.bodies import SLICE_BYTES, SlicedBody
from headgate_gateway.outbound.connections import (
    Connector,
    addresses_of,
    idle_connections,
    keep_in,
    tls_of,
)
from headgate_gateway.outbound.failures import (
    REFUSED_BY_PROXY,
    InvalidStatus,
    ProxyRefusal,
    failure_of,
)
from headgate_gateway.outbound.ways import CONNECT_S, WAY, Way
from headgate_gateway.telemetry.outbound import counts_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable, Container, Iterator, Mapping
    from contextlib import AbstractContextManager

    from aiohttp import BaseConnector
    from multidict import MultiMapping

    from headgate_gateway.outbound.connections import LookUp, OutboundConnection
    from headgate_gateway.protocol.http.destinations import AllowedHosts
    from headgate_gateway.protocol.http.outgoing_proxies import OutgoingProxies, Proxy

MOST_CONNECTIONS = 256  # of one client
READ_BYTES = 64 << 10
# Bytes of a response with what is around its body: 256 header fields may have so many.
LONGEST_ON_THE_WIRE = 1 << 20
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0  # between two attempts
_AGENT: dict[str, str] = {hdrs.USER_AGENT: "Headgate"}
# A compressed body could be a bomb.
FIELDS = _AGENT | {hdrs.ACCEPT_ENCODING: "identity"}
_NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
# Final statuses (RFC 9110, section 15). Nothing that HTTP means follows any other one.
_FINAL_STATUSES = range(200, 600)


def pauses() -> Backoff:
    """Return the pauses between attempts: each failure doubles them, up to a minute."""
    return Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, random.random)


def usual_connector(hosts: AllowedHosts | None = None, look_up: LookUp = addresses_of) -> Connector:
    """Return a connector for short responses: to `hosts` of clients, or servers of the settings."""
    return Connector(
        hosts, limit=MOST_CONNECTIONS, look_up=look_up, longest_response=LONGEST_ON_THE_WIRE
    )


class OutboundRequest(NamedTuple):
    """A request; `fields` are its header fields."""

    method: str
    url: URL
    fields: Mapping[str, str] | MultiMapping[str]
    body: bytes | AsyncIterable[bytes] | None = None


class OutboundResponse(NamedTuple):
    """A response that is over; `body` is empty where it was not read, and cut if not `is_whole`."""

    status: int
    headers: MultiMapping[str]
    body: bytes
    is_whole: bool


class OutboundClient:
    """A client of servers for one purpose, such as `purge`, with connections of its own.

    It follows no redirect, since fields and body are for the server that was named; it stores no
    cookie, goes through no proxy but those of `proxies`, and decompresses nothing. A request that
    ends before its server has taken the body aborts its connection.
    """

    def __init__(
        self,
        purpose: str,
        connect: Callable[[], BaseConnector] = usual_connector,
        response_class: type[ClientResponse] = ClientResponse,
        proxies: OutgoingProxies | None = None,
    ) -> None:
        """`connect` makes the connector, on the loop of the first request."""
        self.proxies = proxies
        self._counts = counts_of(purpose)
        self._connect = connect
        self._response_class = response_class
        self._session: ClientSession | None = None
        self._connections: set[OutboundConnection] = set()
        self._counts.clients.add(self)

    @property
    def busy_connections(self) -> int:
        """Open connections without those that wait for the next request."""
        connector = None if self._session is None else self._session.connector
        idle = 0 if connector is None else idle_connections(connector)
        return len(self._connections) - idle

    @property
    def unsent_bytes(self) -> int:
        """Bytes that the connections keep for the servers."""
        return sum(connection.unsent_bytes for connection in self._connections)

    async def call(
        self,
        request: OutboundRequest,
        timeout_s: float,
        *,
        longest: int = READ_BYTES,
        body_of: Container[int] = _FINAL_STATUSES,
    ) -> OutboundResponse:
        """Send a request; return its response within `timeout_s`. Raises NoResponse.

        The body is read if its status is in `body_of`; of a longer one than `longest` bytes the
        rest is not read, and the connection closed.
        """
        request = request._replace(fields={**FIELDS, **request.fields})
        way = self._way_of(request.url)
        with self._counted(timeout_s, way) as count:
            async with asyncio.timeout(timeout_s):
                async with await self._send(request, way) as it:
                    status, content, is_whole = it.status, b"", True
                    if status in body_of:
                        content, is_whole = await _beginning(it, longest)
                    else:
                        it.close()
            count(status)
        return OutboundResponse(status, it.headers, content, is_whole)

    async def open(
        self,
        request: OutboundRequest,
        timeout_s: float,
        *,
        timed_by: Callable[[asyncio.Timeout], AbstractContextManager[object]] = nullcontext,
    ) -> ClientResponse:
        """Send a request; return the response once its head has come. Raises NoResponse.

        Its head comes within `timeout_s`, which `timed_by` may put off. The caller reads the body
        and closes the response.
        """
        way = self._way_of(request.url)
        with self._counted(timeout_s, way) as count:
            async with asyncio.timeout(timeout_s) as clock:
                with timed_by(clock):
                    response = await self._send(request, way)
            count(response.status)
        return response

    async def close(self) -> None:
        """Close all connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _way_of(self, url: URL) -> Way | None:
        """Return the way to a server through a proxy; None if requests go there directly."""
        if self.proxies is None:
            return None
        proxy = self.proxies.of(url.scheme, url.raw_host or "", url.port or 0)
        return None if proxy is None else Way(proxy)

    def _opened(self) -> ClientSession:
        """Return the session, which the first request opens."""
        if self._session is None:
            connector = self._connect()
            keep_in(self._connections, connector)
            self._session = ClientSession(
                connector=connector,
                cookie_jar=DummyCookieJar(),
                trust_env=False,
                auto_decompress=False,
                skip_auto_headers=_NOT_ADDED,
                timeout=ClientTimeout(total=None, sock_connect=CONNECT_S),
                read_bufsize=READ_BYTES,
                response_class=self._response_class,
                max_line_size=HEAD_BYTES,
                max_field_size=HEAD_BYTES,
                max_headers=HEADER_LINES,
            )
        return self._session

    async def _send(self, request: OutboundRequest, way: Way | None) -> ClientResponse:
        body: bytes | AsyncIterable[bytes] | SlicedBody | None = request.body
        if isinstance(body, bytes) and len(body) > SLICE_BYTES:
            body = SlicedBody(body, self._counts)
        fields, proxy, of_tunnel = request.fields, None, None
        has_tunnel = request.url.scheme == "https"
        if way is not None:
            proxy, authorization = URL(way.proxy.url), _authorization(way.proxy)
            of_tunnel = _AGENT | authorization
            if not has_tunnel:  # the request itself is the proxy's
                fields = CIMultiDict(fields)
                fields.update(authorization)
        tls = await tls_of(request.url, *(() if proxy is None else (proxy,)))
        token = WAY.set(way)
        try:
            response = await self._opened().request(
                request.method,
                request.url,
                headers=fields,
                data=body,
                allow_redirects=False,
                ssl=tls,
                proxy=proxy,
                proxy_headers=of_tunnel,
            )
        finally:
            WAY.reset(token)
        if response.status not in _FINAL_STATUSES:
            response.close()
            raise InvalidStatus(response.status)
        if way is not None and response.status == REFUSED_BY_PROXY and not has_tunnel:
            response.close()
            raise ProxyRefusal
        return response

    @contextmanager
    def _counted(self, timeout_s: float, way: Way | None) -> Iterator[Callable[[int], None]]:
        """Count a request by its status, or by the failure that an error is raised as.

        A request that its caller gives up is not counted: nothing became of it.
        """
        time = asyncio.get_running_loop().time
        begun = time()
        try:
            yield lambda status: self._counts.responded(status, time() - begun)
        except (
            aiohttp.ClientError,
            NoFileLeft,
            OSError,
            ValueError,
        ) as error:  # a TimeoutError is an OSError
            failure = failure_of(error, timeout_s, way)
            self._counts.failed(failure.kind, time() - begun)
            drop_frames(error)
            try:
                raise failure from error
            finally:
                del failure  # a cycle with this frame


def _authorization(proxy: Proxy) -> dict[str, str]:
    """Return the field with the user and password for a proxy, if it has any."""
    value = proxy.authorization
    return {hdrs.PROXY_AUTHORIZATION: value} if value else {}


async def _beginning(response: ClientResponse, longest: int) -> tuple[bytes, bool]:
    """Return a body up to `longest` bytes, and whether that is all of it."""
    body = bytearray()
    async for part in response.content.iter_any():
        body += part
        if len(body) > longest:
            response.close()
            return bytes(body[:longest]), False
    return bytes(body), True
