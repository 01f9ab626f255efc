"""Requests that no client library makes: a body that waits, and a look at TLS."""

from __future__ import annotations

import asyncio
import contextlib
import re
from typing import TYPE_CHECKING

import aiohttp
from headgate.errors import RequestRefused
from yarl import URL

from gateway.tools.cdn_doctor.probe_sender import ANSWER_S
from gateway.tools.server.client import TrustingConnector

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Mapping, Sequence

    from headgate.stream import Stream

# curl sends the body if no 100 has come in this time.
CONTINUE_S = 1.0
HEAD_BYTES = 1 << 16
PROTOCOLS = ["h2", "http/1.1"]
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})\b")


async def append_expecting(
    stream: Stream, headers: Mapping[str, str], body: bytes
) -> tuple[int, bool]:
    """Append as curl does above 1 MiB, with `Expect: 100-continue`.

    Return the status, and whether a 100 came before it. Raises RequestRefused without an answer.
    """
    more = {"Content-Length": str(len(body)), "Expect": "100-continue"}
    async with _sent(stream, {**headers, **more}) as (reader, writer):
        status: int | None = None
        with contextlib.suppress(TimeoutError):
            status = await asyncio.wait_for(_status(reader), CONTINUE_S)
        is_told = status is not None and 100 <= status < 200
        if status is None or is_told:
            writer.write(body)
            status = await _status(reader)
        while 100 <= status < 200:
            is_told, status = True, await _status(reader)
        return status, is_told


async def append_in_chunks(stream: Stream, headers: Mapping[str, str], body: bytes) -> int:
    """Append in two chunks, and return the status. Raises RequestRefused without an answer."""
    half = len(body) // 2
    async with _sent(stream, {**headers, "Transfer-Encoding": "chunked"}) as (reader, writer):
        for part in (body[:half], body[half:], b""):
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
        status = await _status(reader)
        while 100 <= status < 200:
            status = await _status(reader)
        return status


@contextlib.asynccontextmanager
async def _sent(
    stream: Stream, headers: Mapping[str, str]
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a connection on which the head of a POST was sent.

    Raises RequestRefused where it is lost.
    """
    url = URL(stream.url, encoded=True)
    fields = {
        "Host": url.host_port_subcomponent or "",
        "Connection": "close",
        **headers,
        **_authorization(stream, url),
    }
    lines = [f"POST {url.raw_path_qs} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items()), "", ""]
    try:
        async with asyncio.timeout(ANSWER_S), _connected(stream) as (reader, writer):
            writer.write("\r\n".join(lines).encode("latin-1"))
            yield reader, writer
    except TimeoutError as cause:
        raise RequestRefused(f"{stream.shown}: no answer within {ANSWER_S:g} s") from cause
    except (OSError, EOFError, asyncio.LimitOverrunError, ValueError) as cause:
        raise RequestRefused(f"{stream.shown}: the connection was lost") from cause


async def protocol_of(stream: Stream) -> str | None:
    """Return the protocol that the server of an https URL chooses by ALPN; None if it does not."""
    try:
        async with asyncio.timeout(ANSWER_S), _connected(stream, PROTOCOLS) as (_, writer):
            tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return tls.selected_alpn_protocol()
    except (OSError, TimeoutError) as cause:
        raise RequestRefused(f"{stream.shown}: cannot connect again") from cause


@contextlib.asynccontextmanager
async def _connected(
    stream: Stream, protocols: Sequence[str] = ()
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    url, connector = URL(stream.url), stream.session.connector
    assert isinstance(connector, TrustingConnector), "a command has made the session"
    tls = connector.trusted()
    if tls is not None and protocols:
        tls.set_alpn_protocols(protocols)
    reader, writer = await asyncio.open_connection(url.host, url.port, ssl=tls, limit=HEAD_BYTES)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _status(reader: asyncio.StreamReader) -> int:
    """Return the status of the next head. Raises ValueError if it is none of HTTP/1.1."""
    head = await reader.readuntil(b"\r\n\r\n")
    match = _STATUS.match(head)
    if match is None:
        raise ValueError("no HTTP/1.1")
    return int(match[1])


def _authorization(stream: Stream, url: URL) -> dict[str, str]:
    given = stream.authorization
    assert not callable(given), "a command has one credential for as long as it runs"
    if given is None and url.user is not None:
        given = aiohttp.BasicAuth(url.user, url.password or "").encode()
    return {} if given is None else {"Authorization": given}
