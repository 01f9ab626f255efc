"""An origin: the HTTP servers behind a route, and the one client of them."""

from __future__ import annotations

import asyncio
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway import trust
from gateway.errors import HeadgateError
from gateway.origin.heads import HeadPatterns
from gateway.origin.in_step import Surpluses
from gateway.origin.pool import ConnectionPool
from gateway.origin.requests import (
    OriginMetrics,
    OriginRequest,
    RequestLines,
    RequestsInFlight,
    field_block,
    why_unreachable,
)
from gateway.origin.sent_request import AnswerDeadlines, PendingAnswer, SentRequest
from gateway.origin.servers import (
    PROBE_PATH,
    PROBE_TIMEOUT_S,
    PROBED_EVERY_S,
    HealthChecks,
    OriginServer,
    OriginServers,
    OriginSettings,
)
from gateway.protocol.streams.limits import renew

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from multidict import MultiMapping

    from gateway.origin.answer import AnswerReceiver, Loss, OriginAnswer
    from gateway.origin.connection import OriginConnection
    from gateway.telemetry.spans import Tracer

__all__ = ["Origin", "OriginSettings"]


class Origin:
    """The servers of one route: the first that is up gets the requests."""

    def __init__(self, settings: OriginSettings, tracer: Tracer | None = None) -> None:
        self.settings = settings
        self.tracer = tracer
        self.servers = OriginServers(settings.urls, settings.prefix, tries=not settings.health_path)
        interval = settings.health_interval
        self._checks = HealthChecks(
            self.servers,
            self._check,
            min(interval, PROBED_EVERY_S) if settings.has_probes else interval,
            always=bool(settings.health_path) or settings.has_probes,
        )
        self.figures = OriginMetrics()
        self.requests = RequestsInFlight(settings.max_requests)
        self._surpluses = Surpluses(self.figures)
        self.pool = ConnectionPool(self._surpluses, settings.connect_timeout, settings.read_timeout)
        self.patterns = HeadPatterns()
        self.lines = {server: RequestLines(server) for server in self.servers}
        self.under_way: dict[SentRequest, None] = {}

    @override
    def __repr__(self) -> str:
        return f"Origin({self.settings.prefix!r}, {self.requests!r}, {self.servers!r})"

    async def open(self) -> None:
        """Begin. Raises StartError when the authorities to trust cannot be read."""
        settings = self.settings
        # To read the system's takes 30 ms.
        if any(server.speaks_tls for server in self.servers) or settings.tls_ca:
            self.pool.tls = trust.context(settings.tls_ca, verify=settings.tls_verify)
        self.loop = asyncio.get_running_loop()
        self._deadlines = AnswerDeadlines(self.loop, settings.response_timeout)
        self._poll_deadlines = AnswerDeadlines(self.loop, settings.poll_timeout)
        self._checks.start()

    def renew(self, settings: OriginSettings) -> None:
        """Bound requests by these settings from now on; the others need another Origin."""
        renew(self.settings, settings)
        self.requests.most = settings.max_requests
        self.pool.read_timeout_s = settings.read_timeout

    async def close(self) -> None:
        """Abandon all requests, and close every connection."""
        await self._checks.stop()
        for deadlines in (self._deadlines, self._poll_deadlines):
            deadlines.close()
        for sent in list(self.under_way):
            sent.abandon()
        self.pool.close()
        self._surpluses.close()

    def start(self, request: OriginRequest, receiver: AnswerReceiver) -> SentRequest:
        """Send a request, and notify the receiver of what comes of it, after this has returned."""
        now, servers, requests = self.loop.time(), self.servers, self.requests
        deadlines = self._poll_deadlines if request.is_poll else self._deadlines
        server = servers.chosen or servers.preferred
        is_head = request.method == "HEAD"
        sent = SentRequest(self, request, receiver, deadlines, is_head, self.patterns, server, now)
        if self.tracer is not None:
            sent.context = copy_context()
        self.under_way[sent] = None
        try:
            if not request.is_poll:
                requests.count += 1
                if requests.count > requests.most:
                    requests.refuse()
            if servers.chosen is None:
                sent.server = servers.first()
            else:
                servers.used_at = now
            sent.attempt()
        except HeadgateError as error:
            self.loop.call_soon(sent.guarded, partial(sent.fail, error))
        except BaseException:
            sent.abandon()
            raise
        return sent

    async def send(
        self,
        method: str,
        target: str,
        headers: MultiMapping[str],
        body: bytes | AsyncIterable[bytes] | None = None,
    ) -> OriginAnswer:
        """Send a request, and return the response once its head is there; the caller releases it.

        Raises OriginUnreachable when nothing was sent, OriginTimeout, OriginBroken, LimitReached,
        BadRequest when something cannot be sent, and whatever the body raises.
        """
        length = None
        if not (body is None or isinstance(body, bytes)) and "Content-Length" in headers:
            length = int(headers["Content-Length"])
        block = field_block(headers)
        pending = PendingAnswer()
        request = OriginRequest(method, target, block, body or b"", length=length)
        pending.sent = self.start(request, pending)
        try:
            return await pending
        except asyncio.CancelledError:
            pending.cancel()
            raise
        finally:
            del pending  # its error has this frame: both would stay in memory

    async def _check(self, server: OriginServer) -> None:
        """Note on a server whether it is well: with its path, a probe, or just a connection."""
        settings = self.settings
        if settings.health_path:
            why = await self._why_unwell(server, settings.health_path, settings.connect_timeout)
        elif settings.has_probes or server.was_silent:
            why = await self._why_unwell(server, PROBE_PATH, PROBE_TIMEOUT_S)
        else:
            why = await self.pool.why_unreachable(server)
        if why is None:
            server.recovered()
        else:
            server.failed(why)

    async def _why_unwell(self, server: OriginServer, path: str, timeout_s: float) -> str | None:
        """Request a path of a server; return why it is unhealthy, or None."""
        late = f"did not answer its health check within {timeout_s:g} s"
        try:
            async with asyncio.timeout(timeout_s):
                try:
                    connection = await self.pool.connect(server, is_pooled=False)
                except TimeoutError:
                    raise
                except OSError as error:
                    return why_unreachable(error, timeout_s)
                status = await _Probe(connection, self.loop).status_of(server, path)
        except TimeoutError:
            return late
        if status is None:
            return late
        if not self.settings.health_path:
            server.errors.note(status, path, is_probe=True)
        elif status >= 400:
            return f"answers its health check with {status}"
        return None


class _Probe:
    """A GET on a connection of its own, of whose answer only the status counts."""

    is_head = False

    def __init__(self, connection: OriginConnection, loop: asyncio.AbstractEventLoop) -> None:
        self.patterns = HeadPatterns()
        self._connection = connection
        self._status: asyncio.Future[int | None] = loop.create_future()

    async def status_of(self, server: OriginServer, path: str) -> int | None:
        """Return the status that a server answers a GET of one of its paths with, or None."""
        wire = f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\n\r\n"
        try:
            self._connection.send(self, wire.encode())
            return await self._status
        finally:
            self._connection.abandon()

    def on_answer(self, answer: OriginAnswer) -> None:
        """Take the status."""
        self._end(answer.status)

    def on_lost(self, _loss: Loss, _error: Exception) -> None:
        """End without a status."""
        self._end(None)

    def on_released(self) -> None:
        """Do nothing: the connection is closed."""

    def on_raised(self) -> None:
        """End without a status."""
        self._end(None)

    def _end(self, status: int | None) -> None:
        if not self._status.done():
            self._status.set_result(status)
