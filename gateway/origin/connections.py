"""Connections to an origin: how they are made and kept.

All that is asked of an origin shares them, with aiohttp's client or without.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, hdrs
from aiohttp.client_reqrep import ConnectionKey

from gateway.origin.raw_connection import RawConnection
from gateway.origin.response import HEAD_BYTES
from gateway.origin.unreachable import why_unreachable

if TYPE_CHECKING:
    import ssl

    from aiohttp import ClientRequest
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

    from gateway.origin.servers import OriginSettings

# Node closes a connection that was idle for 5 s, and tells nobody beforehand: a request that is
# on its way then is lost, and a write that is lost cannot be repeated. So we close it first.
KEEP_ALIVE_S = 4.0
HEADER_LINES = 256
# How aiohttp reads an answer.
READING: dict[str, Any] = {
    "auto_decompress": False,
    "max_line_size": HEAD_BYTES,
    "max_field_size": HEAD_BYTES,
    "max_headers": HEADER_LINES,
}
NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
# How aiohttp tells it from a connection that was lost while writing.
CLOSED_BEFORE = "Cannot write to closing transport"


class Connector(aiohttp.TCPConnector):
    """Gives no connection on which the server has spoken without being asked.

    What it said would be taken for the answer to the next request.
    """

    def __init__(self, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(**settings)
        self._factory = partial(RawConnection, loop=self._loop)  # type: ignore[assignment] # a subclass

    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,  # noqa: ASYNC109 - aiohttp's own
    ) -> Connection:
        """A connection, from the pool or new."""
        while True:
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is None or not connection.protocol.should_close:
                return connection
            connection.close()

    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        super()._release(key, protocol, should_close=should_close)
        # The parser of the last answer would keep the beginning of another one to itself. Without
        # it whatever comes counts as unread, and the next request gets a parser of its own.
        protocol._parser = None

    def take(self, key: ConnectionKey) -> RawConnection | None:
        """A connection from the pool, the one that was used last; None where there is none.

        It is given back, or adopted, or closed.
        """
        kept = self._conns.get(key)
        while kept:
            connection, used_at = kept.pop()
            assert isinstance(connection, RawConnection), "made here"
            is_fresh = used_at >= monotonic() - KEEP_ALIVE_S
            if is_fresh and not connection.should_close and connection.is_connected():
                return connection
            connection.close()
        return None

    def give_back(self, key: ConnectionKey, connection: RawConnection) -> None:
        """Keep one that was taken for another request."""
        self._conns[key].append((connection, monotonic()))
        if self._cleanup_handle is None:
            self._cleanup()  # which comes again as long as any is kept

    def adopt(self, key: ConnectionKey, connection: RawConnection) -> Connection:
        """Have aiohttp read the answer on one that was taken, and give it back."""
        self._acquired.add(connection)
        return aiohttp.connector.Connection(self, key, connection, self._loop)


def key_of(url: URL) -> ConnectionKey:
    """Under which connections for requests to a URL are kept."""
    is_tls = url.scheme == "https"
    return ConnectionKey(url.raw_host or "", url.port, is_tls, True, None, None, None)


def session(
    settings: OriginSettings,
    tls: ssl.SSLContext | None,
    trace: aiohttp.TraceConfig,
    *,
    pooled: bool,
) -> ClientSession:
    """A client that adds nothing to requests, and takes nothing from answers."""
    connector = Connector(
        ssl=tls or True,
        limit=0,  # the bound is `max_requests`
        force_close=not pooled,
        keepalive_timeout=KEEP_ALIVE_S if pooled else None,
    )
    made = ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=NOT_ADDED,
        timeout=ClientTimeout(total=None, connect=settings.connect_timeout),
        trace_configs=[trace],
        **READING,
    )
    # aiohttp repeats PUT and DELETE on another connection; the server may have done them already.
    made._retry_connection = False
    return made


def connector_of(client: ClientSession) -> Connector:
    """What its connections come from."""
    connector = client.connector
    assert isinstance(connector, Connector), "made here"
    return connector


def nothing_written(error: BaseException) -> bool:
    """Whether a connection from the pool was found closed before anything was written to it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, aiohttp.ClientConnectionResetError):
            return str(cause) == CLOSED_BEFORE
        cause = cause.__cause__
    return False


async def try_connection(
    host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float
) -> str | None:
    """Connect as a request would; why that failed, or None."""
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(host, port, ssl=tls)
    except OSError as error:
        return why_unreachable(error, timeout_s)
    writer.transport.abort()
    return None
