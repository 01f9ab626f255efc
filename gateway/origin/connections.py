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
from typing_extensions import override

from gateway.origin.in_step import KEEP, REST, REST_S, ConnectionHistory
from gateway.origin.raw_connection import RawConnection
from gateway.origin.response import HEAD_BYTES, OriginResponse
from gateway.origin.unreachable import why_unreachable

if TYPE_CHECKING:
    import ssl

    from aiohttp import ClientRequest
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace
    from yarl import URL

    from gateway.origin.in_step import InStep
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
    """A connector that gives out no connection whose next answer may be another request's."""

    def __init__(self, in_step: InStep, **settings: Any) -> None:  # noqa: ANN401 - aiohttp's
        super().__init__(**settings)
        self.in_step = in_step
        self._factory = partial(RawConnection, self._loop, in_step)  # type: ignore[assignment] # a subclass

    @override
    async def connect(
        self,
        req: ClientRequest,
        traces: list[Trace],
        timeout: ClientTimeout,
    ) -> Connection:
        """Return a connection, from the pool or new."""
        connection = await super().connect(req, traces, timeout)
        assert isinstance(connection.protocol, RawConnection), "made here"
        try:
            connection.protocol.server = self.in_step.server(req.connection_key)
        except BaseException:
            connection.close()
            raise
        return connection

    @override
    async def _wrap_create_connection(
        self,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[asyncio.Transport, ResponseHandler]:
        """Make the protocol before the socket, which asyncio would not close if that raised."""
        factory, *others = args
        protocol = factory()
        return await super()._wrap_create_connection(lambda: protocol, *others, **kwargs)

    @override
    async def _get(self, key: ConnectionKey, traces: list[Trace]) -> Connection | None:
        taken = self.acquire(key)
        if taken is None:
            return None
        connection = self.adopt(key, taken)
        try:
            for trace in traces:
                await trace.send_connection_reuseconn()
        except BaseException:
            connection.close()
            raise
        return connection

    @override
    def _release(
        self, key: ConnectionKey, protocol: ResponseHandler, *, should_close: bool = False
    ) -> None:
        assert isinstance(protocol, RawConnection), "made here"
        if self._closed or self._force_close or should_close or protocol.should_close:
            super()._release(key, protocol, should_close=True)
            return
        self._release_acquired(key, protocol)
        # The parser of the last answer would keep the beginning of another one to itself.
        protocol._parser = None
        self.return_idle(key, protocol)

    def acquire(self, key: ConnectionKey) -> RawConnection | None:
        """Return the pooled connection that was used last, or None.

        The caller has to give it back, adopt it, or close it.
        """
        idle = self._conns.get(key)
        while idle:
            connection, used_at = idle.pop()
            assert isinstance(connection, RawConnection), "made here"
            now = monotonic()
            transport = connection.transport  # it is left when anything else ends the connection
            if used_at < now - KEEP_ALIVE_S or transport is None or transport.is_closing():
                connection.close()
            elif now - used_at >= REST_S and connection.has_unread:
                self._rest(key, connection, now)  # the loop is about to read it
            elif now - used_at < REST_S and connection.history.is_doubted:
                connection.is_idle = False
                self.return_idle(key, connection)  # to rest
            else:
                if now - used_at >= REST_S:
                    connection.history = ConnectionHistory()
                connection.is_idle = False
                return connection
        return None

    def return_idle(self, key: ConnectionKey, connection: RawConnection) -> None:
        """Keep a connection for another request, if its server may be asked on it again."""
        now = monotonic()
        verdict = self.in_step.judge(connection, now)
        if verdict is KEEP:
            connection.is_idle = True
            self._conns[key].append((connection, now))
            if self._cleanup_handle is None:
                self._cleanup()  # closes what is kept too long, again and again while any is kept
        elif verdict is REST:
            self._rest(key, connection, now)
        else:
            connection.close()

    def _rest(self, key: ConnectionKey, connection: RawConnection, now: float) -> None:
        """Keep a connection from being used for a while."""
        connection.is_idle = True
        self._acquired.add(connection)  # it is closed with the others then
        self.in_step.begin_rest(connection, now)
        self._loop.call_later(REST_S, self._rested, key, connection)

    def _rested(self, key: ConnectionKey, connection: RawConnection) -> None:
        self._acquired.discard(connection)
        if connection.has_unread:  # another loop may run timers before it reads
            self.in_step.end_rest(connection, is_silent=False)
            self._rest(key, connection, monotonic())
            return
        is_silent = not connection.should_close and connection.is_connected()
        if self.in_step.end_rest(connection, is_silent=is_silent) and not self._closed:
            # The last to be used: what comes later than a rest most probably finds it idle.
            self._conns[key].appendleft((connection, monotonic()))
            if self._cleanup_handle is None:
                self._cleanup()
        else:
            connection.close()

    def adopt(self, key: ConnectionKey, connection: RawConnection) -> Connection:
        """Have aiohttp read the answer on one that was taken, and give it back."""
        self._acquired.add(connection)
        return aiohttp.connector.Connection(self, key, connection, self._loop)


def key_of(url: URL) -> ConnectionKey:
    """Return the key under which the connections for a URL are pooled."""
    is_tls = url.scheme == "https"
    return ConnectionKey(url.raw_host or "", url.port, is_tls, True, None, None, None)


def session(
    settings: OriginSettings,
    tls: ssl.SSLContext | None,
    trace: aiohttp.TraceConfig,
    in_step: InStep,
    *,
    pooled: bool,
) -> ClientSession:
    """Return a client that adds nothing to requests, and takes nothing from responses."""
    connector = Connector(
        in_step,
        ssl=tls or True,
        limit=0,  # the bound is `max_requests`
        force_close=not pooled,
        keepalive_timeout=KEEP_ALIVE_S if pooled else None,
    )
    client_session = ClientSession(
        connector=connector,
        cookie_jar=DummyCookieJar(),
        trust_env=False,
        skip_auto_headers=NOT_ADDED,
        timeout=ClientTimeout(total=None, connect=settings.connect_timeout),
        trace_configs=[trace],
        response_class=OriginResponse,
        **READING,
    )
    # aiohttp repeats PUT and DELETE on another connection; the server may have done them already.
    client_session._retry_connection = False
    return client_session


def connector_of(client: ClientSession) -> Connector:
    """Return the connector of a session that was made here."""
    connector = client.connector
    assert isinstance(connector, Connector), "made here"
    return connector


def nothing_written(error: BaseException) -> bool:
    """Return whether a pooled connection was found closed before anything was written to it."""
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
