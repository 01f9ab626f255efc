"""Connections to an origin: how they are made and kept, and why one cannot be made."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import ClientSession, ClientTimeout, DummyCookieJar, hdrs

from gateway.origin.response import HEAD_BYTES

if TYPE_CHECKING:
    from aiohttp import ClientRequest
    from aiohttp.client_proto import ResponseHandler
    from aiohttp.client_reqrep import ConnectionKey
    from aiohttp.connector import Connection
    from aiohttp.tracing import Trace

    from gateway.origin.servers import OriginSettings

# Node closes a connection that was idle for 5 s, and tells nobody beforehand: a request that is
# on its way then is lost, and a write that is lost cannot be repeated. So we close it first.
KEEP_ALIVE_S = 4.0
HEADER_LINES = 256
NOT_ADDED = (hdrs.ACCEPT, hdrs.ACCEPT_ENCODING, hdrs.CONTENT_TYPE, hdrs.USER_AGENT)
# How aiohttp tells it from a connection that was lost while writing.
CLOSED_BEFORE = "Cannot write to closing transport"
WRONG_NAME = frozenset({62, 64})  # OpenSSL's numbers for another host name, another address


class Connector(aiohttp.TCPConnector):
    """Gives no connection on which the server has spoken without being asked.

    What it said would be taken for the answer to the next request.
    """

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
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=NOT_ADDED,
        timeout=ClientTimeout(total=None, connect=settings.connect_timeout),
        max_line_size=HEAD_BYTES,
        max_field_size=HEAD_BYTES,
        max_headers=HEADER_LINES,
        trace_configs=[trace],
    )
    # aiohttp repeats PUT and DELETE on another connection; the server may have done them already.
    made._retry_connection = False
    return made


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


def why_unreachable(error: BaseException, timeout_s: float) -> str:
    """What is wrong with a server that cannot be connected to, in words that follow its name.

    Clients get to read them: no address is in them.
    """
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        error = error.certificate_error
    elif isinstance(error, aiohttp.ClientConnectorError):
        error = error.os_error
    if isinstance(error, TimeoutError):
        return f"took no connection within {timeout_s:g} s"
    if isinstance(error, socket.gaierror):
        return f"has a host name that cannot be resolved: {error.strerror}"
    if isinstance(error, ssl.SSLError):
        return _why_no_tls(error)
    if isinstance(error, OSError) and error.errno:
        return f"cannot be connected to: {os.strerror(error.errno)}"
    return "cannot be connected to"


def _why_no_tls(error: ssl.SSLError) -> str:
    if not isinstance(error, ssl.SSLCertVerificationError):
        return f"does not speak TLS as we do: {error.reason}"
    if error.verify_code in WRONG_NAME:
        return "has a certificate for another host name"
    return f"has a certificate that is not trusted: {error.verify_message}"
