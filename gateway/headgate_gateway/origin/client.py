"""An origin: the HTTP servers behind a route, and the requests to them.

A request makes attempts at one server after another, until the head of an answer is there.
"""

from __future__ import annotations

import asyncio
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING

from msgspec import Struct
from typing_extensions import override

from headgate_gateway import errors
from headgate_gateway.origin.answer import AnswerReceiver, Loss, OriginAnswer, PendingAnswer
from headgate_gateway.origin.connection import OriginConnection
from headgate_gateway.origin.heads import HeadPatterns
from headgate_gateway.origin.health import HealthChecks
from headgate_gateway.origin.pool import ConnectionPool
from headgate_gateway.origin.requests import (
    LIVE,
    AnswerDeadlines,
    AttemptSpan,
    OriginMetrics,
    OriginRequest,
    RequestLines,
    RequestsInFlight,
    field_block,
    trace_id_of,
    why_unreachable,
)
from headgate_gateway.origin.servers import OriginServer, OriginServers, OriginSettings
from headgate_gateway.protocol import http1
from headgate_gateway.protocol.streams.limits import renew
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from multidict import MultiMapping

    from headgate_gateway.telemetry.spans import Tracer


class Origin:
    """The servers of one route: the first that is up gets the requests."""

    def __init__(self, settings: OriginSettings, tracer: Tracer | None = None) -> None:
        self.settings = settings
        self.tracer = tracer
        self.servers = OriginServers(settings.urls, settings.prefix, tries=not settings.health_path)
        self.figures = OriginMetrics()
        self.requests = RequestsInFlight(settings.max_requests)
        self.pool = ConnectionPool(self.servers, settings, self.figures)
        self._checks = HealthChecks(self.servers, self.pool, settings)
        self.patterns = HeadPatterns()
        self.lines = {server: RequestLines(server) for server in self.servers}
        self.under_way: dict[SentRequest, None] = {}

    async def open(self) -> None:
        """Begin. Raises StartError when the authorities to trust cannot be read."""
        settings = self.settings
        self.pool.open()
        self.loop = asyncio.get_running_loop()
        on_silence = SentRequest.on_silence
        self.deadlines = AnswerDeadlines(self.loop, settings.response_timeout, on_silence)
        self._held = AnswerDeadlines(self.loop, settings.poll_timeout, on_silence, is_timed=False)
        self._checks.start()

    def renew(self, settings: OriginSettings) -> None:
        """Bound requests by these settings from now on; the others need another Origin."""
        renew(self.settings, settings)
        self.requests.most = settings.max_requests

    async def close(self) -> None:
        """Abandon all requests, and close every connection."""
        await self._checks.stop()
        for deadlines in (self.deadlines, self._held):
            deadlines.close()
        for sent in list(self.under_way):
            sent.abandon()
        self.pool.close()

    def start(self, request: OriginRequest, receiver: AnswerReceiver) -> SentRequest:
        """Send a request, and notify the receiver of what comes of it, after this has returned."""
        now, servers, requests = self.loop.time(), self.servers, self.requests
        deadlines = self._held if request.is_poll or LIVE in request.target else self.deadlines
        server, is_head = servers.chosen or servers.preferred, request.method == "HEAD"
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
        except errors.HeadgateError as error:
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
        pending = PendingAnswer()
        request = OriginRequest(method, target, field_block(headers), body or b"", length=length)
        pending.abandon = self.start(request, pending).abandon
        try:
            return await pending
        except asyncio.CancelledError:
            pending.cancel()
            raise
        finally:
            del pending  # its error has this frame: both would stay in memory


class SentRequest(Struct, eq=False):
    """A request, until the receiver has the head of its answer, or the failure.

    It is the `Attempt` of the connections that it goes out on.
    """

    origin: Origin
    request: OriginRequest
    receiver: AnswerReceiver
    deadlines: AnswerDeadlines[SentRequest]
    is_head: bool
    patterns: HeadPatterns
    server: OriginServer  # which has the request, or gets it
    began: float  # loop time; of a body in parts, when the last one was here
    connection: OriginConnection | None = None  # of the attempt under way
    is_repetition: bool = False  # a server may have had it before
    tried: tuple[OriginServer, ...] = ()  # without an answer
    task: asyncio.Task[None] | None = None  # which connects, or sends the body
    is_over: bool = False  # there is an answer or a failure, or nobody waits any more
    is_reported: bool = False  # the receiver has taken it
    context: Context | None = None  # of the caller, if requests are traced
    span: AttemptSpan | None = None  # of the attempt under way

    @override
    def __repr__(self) -> str:
        return f"SentRequest({self.request.method} {self.request.target}, {self.server!r})"

    # Attempts

    def attempt(self) -> None:
        """Send the request to the server: now, if a connection is idle and the body is here."""
        origin, request, server = self.origin, self.request, self.server
        fields = request.fields
        # The span of a poll would be open for as long as a stream is silent.
        if origin.tracer is not None and self.context is not None and not request.is_poll:
            self.span = AttemptSpan(
                origin.tracer, self.context, request, server, is_repetition=self.is_repetition
            )
            fields = self.span.fields
        wire = request.wire(origin.lines[server], fields)
        connection = None if self.is_repetition else origin.pool.by_server[server].acquire()
        if connection is not None and isinstance(request.body, bytes):
            self.connection = connection
            self.deadlines.start(self)
            connection.send(self, wire)
        else:
            task = self.task = origin.loop.create_task(self._attempt_in_task(connection, wire))
            task.add_done_callback(self._on_task_done)

    async def _attempt_in_task(self, connection: OriginConnection | None, wire: bytes) -> None:
        if connection is None:
            pool, settings = self.origin.pool, self.origin.settings
            try:
                pool.check_files()
                connection = await pool.connect(self.server, is_pooled=not self.is_repetition)
            except errors.HeadgateError as error:  # waiting readers have their share of files
                self.fail(error)
                return
            except OSError as error:
                why = why_unreachable(error, settings.connect_timeout)
                self.server.failed(why)
                self._go_on(errors.OriginUnreachable(f"the origin {why}"), self._other_server())
                return
        if connection.transport is None:  # the server has closed it at once: nothing was sent
            following = self._other_server() or self.server
            self._repeat(errors.OriginBroken(Loss.CUT.value), following, is_unsent=True)
            return
        self.connection = connection
        self.deadlines.start(self)
        connection.send(self, wire)
        if not isinstance(self.request.body, bytes):
            connection.is_sending = True
            await self._upload(connection, self.request.body)
            connection.is_sending = False

    async def _upload(self, connection: OriginConnection, body: AsyncIterable[bytes]) -> None:
        """Send a body while it comes; the server's time stops while its next part is awaited."""
        length, sent = self.request.length, 0
        try:
            self.deadlines.stop(self)
            async for part in body:
                self.began = self.deadlines.start(self)
                sent += len(part)
                if length is not None and sent > length:
                    break
                if part:  # an empty chunk would be the end
                    await connection.send_more(part if length is not None else http1.chunk(part))
                self.deadlines.stop(self)
            self.began = self.deadlines.start(self)
            if length is None:
                await connection.send_more(http1.LAST_CHUNK)
            elif sent != length:
                connection.abandon()
                why = f"the body has not the {length} bytes of its Content-Length"
                self.fail(errors.BadRequest(why))
        except Exception as error:  # noqa: BLE001 - the receiver gets it: the server is not at fault
            connection.abandon()
            self.fail(error)

    # What comes of them

    def on_answer(self, answer: OriginAnswer) -> None:
        """Pass an answer to the receiver."""
        origin, request, server, unread = self.origin, self.request, self.server, answer.unread
        try:
            if self.span is not None:
                self.span.answered(answer.status)
                self.span = None
            self._leave(frees=unread is None)
            waited_s = origin.loop.time() - self.began if self.deadlines.is_timed else 0.0
            server.answered(answer.status, request.target, waited_s)
            origin.figures.results[f"{answer.status // 100}xx"] += 1
            if self.deadlines.is_timed:
                is_traced = self.context is not None or b"raceparent:" in request.fields
                traced = trace_id_of(request, self.context) if is_traced else None
                origin.figures.duration.observe(waited_s, 1, traced)
            answer.server, answer.is_repetition = server.incarnation, self.is_repetition
            if self.context is None:
                self.receiver.on_answer(answer)
            else:
                self.context.run(self.receiver.on_answer, answer)
        except BaseException:
            answer.release()
            raise
        self.is_reported = True

    def on_lost(self, loss: Loss, error: errors.OriginBroken) -> None:
        """Repeat a read, here or elsewhere; fail another request, which may have been done."""
        connection, server = self.connection, self.server
        if loss is Loss.UNKNOWN:
            self._fail_unknown()
            return
        if loss is Loss.GARBLED:
            server.answered(502, self.request.target)
        elif loss is Loss.REFUSED:
            server.answered(200, self.request.target)
        following = self._other_server()
        # A connection that was not fit for another request says nothing about the server.
        was_stale = connection is not None and connection.was_used and loss is not Loss.REFUSED
        if was_stale or (loss is Loss.CUT and following is None):
            following = server
        self._repeat(error, following)

    def on_silence(self) -> None:
        """Blame the server, which has not answered in time; go on as after a loss."""
        self.guarded(self._go_on_without_answer)

    def _go_on_without_answer(self) -> None:
        assert self.connection is not None, "its time runs"
        self.connection.abandon()
        why = f"did not answer within {self.deadlines.wait_s:g} s"
        self.server.silent(why)
        self._repeat(errors.OriginTimeout(f"the origin {why}"), self._other_server())

    def _fail_unknown(self) -> None:
        """Fail the request: something raised here, and its answer is lost."""
        error = errors.OriginBroken(Loss.UNKNOWN.value)
        if not self.is_over:
            self.fail(error)
        elif not self.is_reported:
            self._report(error)

    def _other_server(self) -> OriginServer | None:
        return self.origin.servers.following({*self.tried, self.server})

    def _repeat(
        self, error: errors.HeadgateError, server: OriginServer | None, *, is_unsent: bool = False
    ) -> None:
        """Send the request once more, to `server`, if that does no harm."""
        is_safe = is_unsent or self.request.is_repeatable
        if self.is_repetition or server is None or not is_safe:
            self.fail(error)
        else:
            self.is_repetition = True
            self._go_on(error, server)

    def _go_on(self, error: errors.HeadgateError, server: OriginServer | None) -> None:
        """Send the request to another server after an error; fail if there is none."""
        if server is None:
            self.fail(error)
            return
        self._end_attempt(error)
        self.tried = (*self.tried, self.server)
        self.server = server
        try:
            self.attempt()
        except errors.HeadgateError as failure:  # the next one has another base URL
            self.fail(failure)

    def _end_attempt(self, error: Exception | None) -> None:
        self.origin.figures.unanswered(self.server, self.deadlines.stop(self))
        self.connection = None
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        span, self.span = self.span, None
        if span is not None:
            span.failed(error)

    def fail(self, error: Exception) -> None:
        """Notify the receiver why there is no answer."""
        if self.is_over:
            return
        self._end_attempt(error)
        self._leave()
        if isinstance(error, errors.HeadgateError):
            self.origin.figures.failed(error)
        self._report(error)

    def _report(self, error: Exception) -> None:
        self.is_reported = True
        if self.context is None:
            self.receiver.on_failure(error)
        else:
            self.context.run(self.receiver.on_failure, error)

    def abandon(self) -> None:
        """Give up the request: the receiver is not called any more."""
        if self.is_over:
            return
        connection, request, server = self.connection, self.request, self.server
        self._end_attempt(None)
        self._leave()
        self.is_reported = True
        if connection is not None:
            connection.abandon()
            if isinstance(request.body, bytes) and self.deadlines.is_timed:
                server.abandoned(request.target, self.origin.loop.time() - self.began)

    def _leave(self, *, frees: bool = True) -> None:
        """End the request; its slot is free unless a body is still to be read."""
        self.is_over = True
        self.deadlines.since.pop(self, None)
        self.origin.under_way.pop(self, None)
        self.connection = None
        if self.task is not None:
            self._end_attempt(None)
        if frees and not self.request.is_poll:
            self.origin.requests.count -= 1

    def on_released(self) -> None:
        """Free the slot of a request whose body was read, or is not needed."""
        if not self.request.is_poll:
            self.origin.requests.count -= 1

    # What raises without anybody who waits for it

    def guarded(self, step: Callable[[], None]) -> None:
        """Take a step; fail the request if that raises."""
        try:
            step()
        except Exception:  # noqa: BLE001 - nobody else would
            log.exception("origin.answer_lost", target=self.request.target)
            self._fail_unknown()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("origin.answer_lost", target=self.request.target, exc_info=error)
            if self.connection is not None:
                self.connection.abandon()
            self.guarded(self._fail_unknown)
