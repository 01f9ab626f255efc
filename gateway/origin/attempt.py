"""An attempt to send a request to one server, and how far it came."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import aiohttp

from gateway.telemetry.logs import redact

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Awaitable
    from types import SimpleNamespace

    from aiohttp.connector import Connection
    from multidict import CIMultiDict

    from gateway.origin.servers import OriginServer


SAFE = frozenset({aiohttp.hdrs.METH_GET, aiohttp.hdrs.METH_HEAD})


@dataclass(frozen=True, slots=True)
class OriginRequest:
    """A request to an origin, whichever of its servers it is sent to."""

    method: str
    target: str
    headers: CIMultiDict[str]
    body: bytes | AsyncIterable[bytes] | None
    wait_s: float  # for the head of an answer
    is_poll: bool  # of a feed, which asks something else after a failure


class SentRequest(NamedTuple):
    """A request that was sent without aiohttp's client, which is to read the answer."""

    response: aiohttp.ClientResponse
    connection: Connection
    until: float  # loop time: how long its head may take


class Attempt:
    """The clock of a server that is asked, which runs only while it is the server's turn."""

    def __init__(
        self, request: OriginRequest, server: OriginServer, *, is_repetition: bool = False
    ) -> None:
        self.request = request
        self.server = server
        self.is_repetition = is_repetition
        self.on_used_connection = False
        self.was_connected = False  # there was a connection to send it on
        self.was_sent = True  # as far as anybody can tell
        self.was_cut = False  # the connection ended before the head of an answer
        self.was_garbled = False  # what came was no HTTP
        self.upload_error: Exception | None = None
        self._clock: asyncio.Timeout | None = None
        self._sent: SentRequest | None = None  # before its turn

    @property
    def is_repeatable(self) -> bool:
        """True if it does no harm to send the request again."""
        if self.upload_error is not None or self.request.is_poll:
            return False
        if not self.was_sent:
            return self.request.body is None or isinstance(self.request.body, bytes)
        return self.request.method in SAFE and self.request.body is None

    @property
    def was_stale(self) -> bool:
        """True if the attempt may have failed for what its connection had been through before.

        The server closed it while it was idle, or was not done with an earlier answer.
        """
        return self.on_used_connection and (self.was_cut or self.was_garbled)

    @property
    def attributes(self) -> dict[str, str | int]:
        """The attributes of its span, by the semantic conventions for HTTP clients."""
        url = self.server.address(self.request.target)
        attributes: dict[str, str | int] = {
            "http.request.method": self.request.method,
            "url.full": redact(str(url)),
            "server.address": url.host or "",
            "server.port": url.port or 0,
        }
        if self.is_repetition:
            attributes["http.request.resend_count"] = 1
        return attributes

    def at(self, server: OriginServer | None, *, is_repetition: bool) -> Attempt | None:
        """Send this request to another server, if there is one."""
        if server is None:
            return None
        return Attempt(self.request, server, is_repetition=is_repetition)

    def start(self) -> asyncio.Timeout:
        """Return the timeout, which does not run before the server has the request."""
        self._clock = asyncio.timeout_at(None if self._sent is None else self._sent.until)
        return self._clock

    def was_sent_before(self, sent: SentRequest) -> None:
        """Note that the request goes on a connection from the pool."""
        self._sent = sent
        self.on_used_connection = self.was_connected = True

    def rest(self) -> Awaitable[aiohttp.ClientResponse] | None:
        """Return the awaited response of a request that is sent already, else None."""
        return None if self._sent is None else _response_to(self._sent)

    def end(self) -> None:
        """Stop the timeout: the head is there, or will not come."""
        self._clock = None

    @property
    def data(self) -> bytes | AsyncIterator[bytes] | None:
        """The body, watched as it goes."""
        body = self.request.body
        return body if body is None or isinstance(body, bytes) else self._upload(body)

    async def _upload(self, body: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
        try:
            self._stop()
            async for part in body:
                self._run()
                yield part
                self._stop()
            self._run()
        except Exception as error:
            # aiohttp would tell it as a fault of the connection.
            self.upload_error = error
            raise

    def _run(self) -> None:
        self._expire_at(asyncio.get_running_loop().time() + self.request.wait_s)

    def _stop(self) -> None:
        self._expire_at(None)

    def _expire_at(self, moment: float | None) -> None:
        # Once the time is over the attempt ends, also where a part of the body came just then.
        if self._clock is not None and not self._clock.expired():
            self._clock.reschedule(moment)

    def note_reuse(self) -> None:
        """Note that the connection had carried a request before."""
        self.on_used_connection = True

    def note_sent(self) -> None:
        """Note that the head of the request goes out, and start the timeout."""
        self.was_connected = True
        self._run()


async def _response_to(sent: SentRequest) -> aiohttp.ClientResponse:
    """Return the response as soon as its head is there."""
    try:
        return await sent.response.start(sent.connection)
    except BaseException:
        sent.response.close()
        sent.connection.close()
        raise


def trace() -> aiohttp.TraceConfig:
    """Have aiohttp tell the attempt that a request is given as its context."""
    config = aiohttp.TraceConfig()
    config.on_connection_reuseconn.append(_on_reuse)
    config.on_request_headers_sent.append(_on_sent)
    return config


async def _on_reuse(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _parameters: aiohttp.TraceConnectionReuseconnParams,
) -> None:
    if isinstance(context.trace_request_ctx, Attempt):
        context.trace_request_ctx.note_reuse()


async def _on_sent(
    _session: aiohttp.ClientSession,
    context: SimpleNamespace,
    _parameters: aiohttp.TraceRequestHeadersSentParams,
) -> None:
    if isinstance(context.trace_request_ctx, Attempt):
        context.trace_request_ctx.note_sent()
