"""A request at an origin: attempts at one server after another, until the head of an answer."""

from __future__ import annotations

import asyncio
from contextvars import Context
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct
from typing_extensions import override

from gateway.errors import BadRequest, HeadgateError, OriginBroken, OriginTimeout, OriginUnreachable
from gateway.later import Later
from gateway.origin.answer import AnswerReceiver, Loss, OriginAnswer
from gateway.origin.connection import OriginConnection
from gateway.origin.heads import HeadPatterns
from gateway.origin.requests import AttemptSpan, OriginRequest, trace_id_of, why_unreachable
from gateway.origin.servers import OriginServer
from gateway.protocol import http1
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Callable

    from gateway.origin.pool import ConnectionPool
    from gateway.origin.requests import OriginMetrics, RequestLines, RequestsInFlight
    from gateway.origin.servers import OriginServers, OriginSettings
    from gateway.telemetry.spans import Tracer

UNKNOWN = "something failed here: it is not known what the origin has answered"


class OriginTraffic(Protocol):
    """The part of `client.Origin` that its requests need."""

    settings: OriginSettings
    servers: OriginServers
    figures: OriginMetrics
    requests: RequestsInFlight
    pool: ConnectionPool
    tracer: Tracer | None
    loop: asyncio.AbstractEventLoop
    lines: dict[OriginServer, RequestLines]
    under_way: dict[SentRequest, None]


class AnswerDeadlines:
    """A timer for all requests that are to be answered within `wait_s`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, wait_s: float) -> None:
        self.wait_s = wait_s
        self.since: dict[SentRequest, float] = {}  # loop time; the longest under way first
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def start(self, sent: SentRequest) -> None:
        """Let a server answer within `wait_s` from now."""
        now = self._loop.time()
        self.since.pop(sent, None)
        self.since[sent] = now
        if self._timer is None:
            self._timer = self._loop.call_at(now + self.wait_s, self._expire)

    def stop(self, sent: SentRequest) -> None:
        """Let a server take its time."""
        self.since.pop(sent, None)

    def _expire(self) -> None:
        self._timer = None
        now = self._loop.time()
        for sent, since in list(self.since.items()):
            if since + self.wait_s > now:
                self._timer = self._loop.call_at(since + self.wait_s, self._expire)
                return
            if self.since.pop(sent, None) is not None:
                sent.guarded(sent.on_silence)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()


class SentRequest(Struct, eq=False):
    """A request, until the receiver has the head of its answer, or the failure.

    It is the `connection.Attempt` of the connections that it goes out on.
    """

    origin: OriginTraffic
    request: OriginRequest
    receiver: AnswerReceiver
    deadlines: AnswerDeadlines
    is_head: bool
    patterns: HeadPatterns
    server: OriginServer  # which has the request, or gets it
    began: float  # loop time
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
        connection = None if self.is_repetition else origin.pool.acquire(server)
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
                connection = await pool.connect(self.server, is_pooled=not self.is_repetition)
            except OSError as error:
                why = why_unreachable(error, settings.connect_timeout)
                self.server.failed(why)
                self._go_on(OriginUnreachable(f"the origin {why}"), self._other_server())
                return
        if connection.transport is None:  # the server has closed it at once: nothing was sent
            following = self._other_server() or self.server
            self._repeat(OriginBroken(Loss.CUT.value), following, is_unsent=True)
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
                self.deadlines.start(self)
                sent += len(part)
                if length is None and part:  # an empty chunk would be the end
                    await connection.send_more(http1.chunk(part))
                elif length is not None:
                    _check_length(sent, length, is_whole=False)
                    await connection.send_more(part)
                self.deadlines.stop(self)
            self.deadlines.start(self)
            if length is None:
                await connection.send_more(http1.LAST_CHUNK)
            else:
                _check_length(sent, length, is_whole=True)
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
            server.answered(answer.status, request.target)
            origin.figures.results[f"{answer.status // 100}xx"] += 1
            if not request.is_poll:
                is_traced = self.context is not None or b"raceparent:" in request.fields
                traced = trace_id_of(request, self.context) if is_traced else None
                origin.figures.duration.observe(origin.loop.time() - self.began, 1, traced)
            answer.server, answer.is_repetition = server.incarnation, self.is_repetition
            if self.context is None:
                self.receiver.on_answer(answer)
            else:
                self.context.run(self.receiver.on_answer, answer)
        except BaseException:
            answer.release()
            raise
        self.is_reported = True

    def on_lost(self, loss: Loss, error: OriginBroken) -> None:
        """Repeat a read, here or elsewhere; fail another request, which may have been done."""
        connection, server = self.connection, self.server
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
        assert self.connection is not None, "its time runs"
        self.connection.abandon()
        why = f"did not answer within {self.deadlines.wait_s:g} s"
        self.server.silent(why)
        self._repeat(OriginTimeout(f"the origin {why}"), self._other_server())

    def on_raised(self) -> None:
        """Fail the request: something raised here, and its answer is lost."""
        error = OriginBroken(UNKNOWN)
        if not self.is_over:
            self.fail(error)
        elif not self.is_reported:
            self._report(error)

    def _other_server(self) -> OriginServer | None:
        return self.origin.servers.following({*self.tried, self.server})

    def _repeat(
        self, error: HeadgateError, server: OriginServer | None, *, is_unsent: bool = False
    ) -> None:
        """Send the request once more, to `server`, if that does no harm."""
        is_safe = is_unsent or self.request.is_repeatable
        if self.is_repetition or server is None or not is_safe:
            self.fail(error)
        else:
            self.is_repetition = True
            self._go_on(error, server)

    def _go_on(self, error: HeadgateError, server: OriginServer | None) -> None:
        """Send the request to another server after an error; fail if there is none."""
        if server is None:
            self.fail(error)
            return
        self._end_attempt(error)
        self.tried = (*self.tried, self.server)
        self.server = server
        try:
            self.attempt()
        except HeadgateError as failure:  # the next one has another base URL
            self.fail(failure)

    def _end_attempt(self, error: Exception | None) -> None:
        self.deadlines.stop(self)
        self.connection = None
        task, self.task = self.task, None
        if task is not None and task is not asyncio.current_task():
            task.cancel()
        span, self.span = self.span, None
        if span is not None:
            span.failed(error)

    def fail(self, error: Exception) -> None:
        """Tell the receiver that there is no answer, and why."""
        if self.is_over:
            return
        self._end_attempt(error)
        self._leave(frees=True)
        if isinstance(error, HeadgateError):
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
        self._leave(frees=True)
        self.is_reported = True
        if connection is not None:
            connection.abandon()
            if isinstance(request.body, bytes) and not request.is_poll:
                server.abandoned(request.target, self.origin.loop.time() - self.began)

    def _leave(self, *, frees: bool) -> None:
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
            self.on_raised()

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("origin.answer_lost", target=self.request.target, exc_info=error)
            if self.connection is not None:
                self.connection.abandon()
            self.guarded(self.on_raised)


class PendingAnswer(Later[OriginAnswer]):
    """The future answer to one request: an `AnswerReceiver` that a handler awaits.

    A handler that is cancelled meanwhile has to call `cancel`.
    """

    __slots__ = ("sent",)
    sent: SentRequest

    def on_answer(self, answer: OriginAnswer) -> None:
        """Resume the handler with an answer."""
        self.set_result(answer)

    def on_failure(self, error: Exception) -> None:
        """Raise the error in the handler."""
        self.set_exception(error)

    def cancel(self) -> None:
        """Abandon the request, or release an answer that has come meanwhile."""
        if not self.done():
            self.sent.abandon()
        elif self.exception() is None:
            self.result().release()


def _check_length(sent: int, length: int, *, is_whole: bool) -> None:
    """Raise BadRequest if a body is not as long as was announced."""
    if sent > length or (is_whole and sent != length):
        raise BadRequest(f"the body has not the {length} bytes of its Content-Length")
