"""An origin: the HTTP servers behind a route, spoken to with aiohttp's client."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING

from aiohttp import ClientConnectorError, ClientError, ClientResponseError
from typing_extensions import override

from gateway import trust
from gateway.errors import (
    HeadgateError,
    OriginBroken,
    OriginTimeout,
    OriginUnreachable,
)
from gateway.origin.attempt import Attempt, OriginRequest, trace
from gateway.origin.connections import (
    connector_of,
    nothing_written,
    session,
    try_connection,
)
from gateway.origin.health import HealthChecks
from gateway.origin.in_step import InStep
from gateway.origin.metrics import OriginMetrics, RequestsInFlight
from gateway.origin.pending_answer import answer_of, send
from gateway.origin.raw_way import RawWay
from gateway.origin.response import OriginAnswer, fault
from gateway.origin.servers import (
    PROBE_PATH,
    PROBE_TIMEOUT_S,
    PROBED_EVERY_S,
    OriginServer,
    OriginServers,
    OriginSettings,
)
from gateway.origin.unreachable import why_unreachable
from gateway.protocol.http.forwarding import check_text
from gateway.protocol.http.trace_context import TRACEPARENT, parse_traceparent
from gateway.protocol.renewal import renew
from gateway.stepped import in_task
from gateway.telemetry import tracing

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterable, Awaitable

    from aiohttp import ClientResponse, ClientSession
    from multidict import CIMultiDict

    from gateway.origin.whole_answer import AnyAnswer
    from gateway.telemetry.spans import Tracer

__all__ = ["Origin", "OriginAnswer", "OriginSettings"]


class Origin:
    """The servers of one route: the first that is up is asked."""

    def __init__(self, settings: OriginSettings, tracer: Tracer | None = None) -> None:
        self._settings = settings
        self._tracer = tracer
        self.servers = OriginServers(settings.urls, settings.prefix, tries=not settings.health_path)
        interval = settings.health_interval
        self._checks = HealthChecks(
            self.servers,
            self._check,
            min(interval, PROBED_EVERY_S) if settings.has_probes else interval,
            always=bool(settings.health_path) or settings.has_probes,
        )
        self.figures = OriginMetrics()
        self.requests = RequestsInFlight(settings.max_requests, self.figures)
        self._in_step = InStep(self.figures)
        self._tls: ssl.SSLContext | None = None
        self._pooled: ClientSession | None = None
        self._unpooled: ClientSession | None = None
        # None where each request has a span of its own, and before it is open.
        self.raw: RawWay | None = None
        self.raw_polls: RawWay | None = None

    @override
    def __repr__(self) -> str:
        return f"Origin({self._settings.prefix!r}, {self.requests!r}, {self.servers!r})"

    async def open(self) -> None:
        """Begin. Raises StartError when the authorities to trust cannot be read."""
        # To read the system's takes 30 ms.
        if self._settings.tls_ca or any(server.speaks_tls for server in self.servers):
            self._tls = trust.context(self._settings.tls_ca, verify=self._settings.tls_verify)
        self._pooled = session(self._settings, self._tls, trace(), self._in_step, pooled=True)
        self._unpooled = session(self._settings, self._tls, trace(), self._in_step, pooled=False)
        if self._tracer is None:
            connector, settings = connector_of(self._pooled), self._settings
            self.raw = RawWay(self, connector, settings.response_timeout)
            self.raw_polls = RawWay(self, connector, settings.poll_timeout, is_for_polls=True)
        self._checks.start()

    def renew(self, settings: OriginSettings) -> None:
        """Bound requests by these settings from now on; the others need another Origin."""
        renew(self._settings, settings)
        self.requests.most = settings.max_requests

    async def close(self) -> None:
        """Close every connection."""
        await self._checks.stop()
        for raw in (self.raw, self.raw_polls):
            if raw is not None:
                await raw.close()
        for client in (self._pooled, self._unpooled):
            if client is not None:
                await client.close()
        self._in_step.close()

    async def send(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        poll: bool = False,
    ) -> AnyAnswer:
        """Send a request, and return the response once its head is there; the caller releases it.

        Raises OriginUnreachable when nothing was sent, OriginTimeout, OriginBroken, LimitReached,
        BadRequest when a header cannot be sent, and whatever the body raises.
        """
        return await answer_of(self.sent(method, target, headers, body, poll=poll))

    def sent(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        poll: bool = False,
        block: bytes | None = None,
    ) -> Awaitable[AnyAnswer]:
        """Send a request as `send` does, and return what its answer is awaited by.

        `block` are the headers as `RawWay.block` makes them, where somebody has remembered that.
        Whoever awaits it has a PendingOriginAnswer cancelled when they are cancelled.
        """
        raw = self.raw
        if raw is not None and not poll and (body is None or isinstance(body, bytes)):
            pending = send(raw, method, target, block or raw.block(headers), body)
            if pending is not None:
                return pending
        return self.send_by_client(method, target, headers, body, poll=poll)

    async def send_by_client(
        self,
        method: str,
        target: str,
        headers: CIMultiDict[str],
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        poll: bool = False,
    ) -> OriginAnswer:
        """Do as `send` by aiohttp's client, which can send every kind of request."""
        await in_task()
        check_text(headers)
        settings = self._settings
        wait_s = settings.poll_timeout if poll else settings.response_timeout
        request = OriginRequest(method, target, headers, body, wait_s, poll)
        began = asyncio.get_running_loop().time()
        with ExitStack() as held:
            if not poll:
                self.requests.enter()
                held.callback(self.requests.release)
            return await self._counted(request, began, held)

    async def read_answer(self, attempt: Attempt, sent_at: float, held: ExitStack) -> OriginAnswer:
        """Return the response to a request that the raw way has sent at `sent_at` (loop time).

        `held` releases its slot among the requests. Raises as `send` does.
        """
        with held:
            return await self._counted(attempt.request, sent_at, held, attempt)

    async def _counted(
        self, request: OriginRequest, began: float, held: ExitStack, attempt: Attempt | None = None
    ) -> OriginAnswer:
        """Do as `_answer`, and count the result; time it unless it is a poll, which takes long."""
        loop = asyncio.get_running_loop()
        try:
            response, attempt = await self._answer(request, held, attempt)
        except HeadgateError as error:
            self.figures.failed(error)
            raise
        self.figures.answered(response.status)
        if not request.is_poll:
            self.figures.duration.observe(loop.time() - began, trace_id=_trace_of(request))
        return OriginAnswer(
            response,
            attempt.server.incarnation,
            self._settings.read_timeout,
            held,
            is_repetition=attempt.is_repetition,
        )

    async def _answer(
        self, request: OriginRequest, held: ExitStack, attempt: Attempt | None
    ) -> tuple[ClientResponse, Attempt]:
        """Return the first answer, and the attempt that got it; `held` has its connection."""
        if attempt is None:
            attempt = Attempt(request, self.servers.first())
        previous_servers = {attempt.server}
        while True:
            try:
                return await self._send_attempt(attempt, held), attempt
            except HeadgateError as error:
                following = self._following(attempt, error, previous_servers)
                if following is None:
                    raise
                attempt = following
                previous_servers.add(attempt.server)

    def _following(
        self, attempt: Attempt, error: HeadgateError, previous_servers: set[OriginServer]
    ) -> Attempt | None:
        """Return the attempt to follow one that failed before the head of a response, or None."""
        server = self.servers.following(previous_servers)
        if isinstance(error, OriginUnreachable):  # nothing was sent
            return attempt.at(server, is_repetition=attempt.is_repetition)
        if attempt.is_repetition or not attempt.is_repeatable:
            return None
        # A connection that was not fit for another request says nothing about the server.
        if attempt.was_stale or (attempt.was_cut and server is None):
            server = attempt.server
        return attempt.at(server, is_repetition=True)

    async def _send_attempt(self, attempt: Attempt, held: ExitStack) -> ClientResponse:
        """Send an attempt, with a span but for the poll of a feed; return the response's head.

        A poll's span would be open for as long as a stream is silent, and belongs to no client.
        """
        request = attempt.request
        if self._tracer is None or request.is_poll:
            return await self._exchange(attempt, request.headers, held)
        with self._tracer.asking(
            tracing.current.get(), attempt.attributes, request.headers
        ) as span:
            try:
                response = await self._exchange(attempt, span.headers, held)
            except HeadgateError as error:
                span.failed(error.code)
                raise
            span.answered(response.status)
            return response

    async def _exchange(
        self, attempt: Attempt, headers: CIMultiDict[str], held: ExitStack
    ) -> ClientResponse:
        request = attempt.request
        client = self._unpooled if attempt.is_repetition else self._pooled
        assert client is not None, "not open"
        loop = asyncio.get_running_loop()
        began_at = loop.time()
        try:
            async with attempt.start():
                response = await (
                    attempt.rest()
                    or client.request(
                        request.method,
                        attempt.server.address(request.target),
                        headers=headers,
                        data=attempt.data,
                        allow_redirects=False,
                        trace_request_ctx=attempt,
                    )
                )
                held.callback(response.release)
        except (ClientError, OSError) as error:
            raise self._failure(attempt, error) from error
        except asyncio.CancelledError:
            if request.method == "GET" and not request.is_poll:  # others may wait for their body
                attempt.server.abandoned(request.target, loop.time() - began_at)
            raise
        finally:
            attempt.end()
        attempt.server.answered(response.status, request.target)
        why = fault(response)
        if why is not None:
            response.close()
            raise OriginBroken(f"the origin's answer cannot be passed on: {why}")
        return response

    def _failure(self, attempt: Attempt, error: ClientError | OSError) -> Exception:
        """Mark the server as failed, and return the failure as an error of ours."""
        if attempt.upload_error is not None:
            return attempt.upload_error
        if not attempt.was_connected:
            why = why_unreachable(error, self._settings.connect_timeout)
            attempt.server.failed(why)
            return OriginUnreachable(f"the origin {why}")
        if isinstance(error, TimeoutError):
            why = f"did not answer within {attempt.request.wait_s:g} s"
            attempt.server.silent(why)
            return OriginTimeout(f"the origin {why}")
        if isinstance(error, ClientResponseError):
            attempt.server.answered(502, attempt.request.target)
            attempt.was_garbled = True
            return OriginBroken("what the origin answered is no HTTP, or its head is too long")
        attempt.was_cut = True
        attempt.was_sent = not nothing_written(error)
        return OriginBroken("the origin closed the connection without an answer")

    async def _check(self, server: OriginServer) -> None:
        """Note on a server whether it is well: with its path, a probe, or just a connection."""
        settings = self._settings
        if settings.health_path:
            why = await self._why_unwell(server, settings.health_path, settings.connect_timeout)
        elif settings.has_probes or server.was_silent:
            why = await self._why_unwell(server, PROBE_PATH, PROBE_TIMEOUT_S)
        else:
            why = await try_connection(*server.endpoint(self._tls), settings.connect_timeout)
        if why is None:
            server.recovered()
        else:
            server.failed(why)

    async def _why_unwell(self, server: OriginServer, path: str, timeout_s: float) -> str | None:
        """Request a path of a server; return why it is unhealthy, or None."""
        assert self._unpooled is not None, "not open"
        try:
            async with (
                asyncio.timeout(timeout_s),
                self._unpooled.get(server.at(path), allow_redirects=False) as response,
            ):
                if not self._settings.health_path:
                    server.errors.note(response.status, path, is_probe=True)
                elif response.status >= 400:
                    return f"answers its health check with {response.status}"
        except ClientConnectorError as error:
            return why_unreachable(error, timeout_s)
        except (ClientError, OSError):
            return f"did not answer its health check within {timeout_s:g} s"
        return None


def _trace_of(request: OriginRequest) -> str | None:
    """Return the id of the recorded trace of a request, ours or else its client's; else None."""
    span = tracing.current.get()
    if span is not None:
        return span.trace_id
    context = parse_traceparent(request.headers.get(TRACEPARENT, ""))
    return context.trace_id if context is not None and context.is_sampled else None
