"""The raw way to an origin: requests and plain answers without a task and without aiohttp's client.

That client takes a third of the cost of forwarding a request, in a dozen places (its request, URL,
writer, timers, pool and parser, a task that waits). Here a request is written to an idle connection
of the same pool, and its answer is passed to a callback when it has come: 10 us instead of 110.

Only successful requests are completed here. Without an idle connection the caller uses
`Origin.send`. An answer that is not plain, or a failure, continues as an `Attempt` of `Origin`
whose request was sent already: retries, the health of servers and logs are decided there.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Protocol

from aiohttp import RequestInfo
from aiohttp.helpers import TimerNoop
from aiohttp.http import StreamWriter
from msgspec import Struct
from multidict import CIMultiDict, CIMultiDictProxy
from typing_extensions import override

from gateway.errors import HeadgateError, OriginBroken
from gateway.origin.attempt import Attempt, OriginRequest, SentRequest
from gateway.origin.connections import READING, key_of
from gateway.origin.head_patterns import IN_CHUNKS
from gateway.origin.plain_head import PlainHeads
from gateway.origin.raw_connection import RawConnection
from gateway.origin.response import OriginResponse
from gateway.origin.servers import OriginServer
from gateway.origin.whole_answer import AnswerReceiver, WholeAnswer
from gateway.protocol import http1
from gateway.protocol.http.trace_context import TRACEPARENT, parse_traceparent
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from multidict import MultiMapping

    from gateway.origin.connections import Connector
    from gateway.origin.head_patterns import PlainHead
    from gateway.origin.metrics import OriginMetrics, RequestsInFlight
    from gateway.origin.response import OriginAnswer
    from gateway.origin.servers import OriginServers

# Targets that can be sent as they are; others need the encoding of a URL object.
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]+)?\Z")
# Fields that the raw way writes itself, or that are about the connection.
_OWN_FIELDS = frozenset({"connection", "content-length", "host", "transfer-encoding"})
MOST_LINES = 2048  # cached request lines of appends, 8 MB with the longest, 0.4 MB with usual ones
UNKNOWN = "something failed here: it is not known what the origin has answered"
WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})  # they have a Content-Length always


class OriginTraffic(Protocol):
    """The part of `origin.client.Origin` that the raw way needs."""

    servers: OriginServers
    figures: OriginMetrics
    requests: RequestsInFlight

    async def read_answer(self, attempt: Attempt, sent_at: float, held: ExitStack) -> OriginAnswer:
        """Return the answer to a request that has been sent."""


class RawQuestion(Struct, eq=False):
    """A request in flight, until its answer has come or a task reads that."""

    way: RawWay
    server: OriginServer
    method: str
    target: str
    fields: bytes
    body: bytes
    receiver: AnswerReceiver
    sent_at: float  # loop time
    heads: PlainHeads
    is_head: bool
    connection: RawConnection
    is_reported: bool = False  # the receiver was called, which happens once
    task: asyncio.Task[None] | None = None

    @override
    def __repr__(self) -> str:
        return f"RawQuestion({self.method} {self.target}, {self.server!r})"

    def on_response(
        self, connection: RawConnection, head: PlainHead, head_bytes: bytes, body: bytes
    ) -> None:
        """Pass the answer to the receiver, and return the connection to the pool."""
        way, server, kind, volatile = self.way, self.server, head.kind, head.volatile
        way.leave(self)
        history, transport = connection.history, connection.transport
        if (
            kind.is_last
            or connection._should_close  # by `force_close`
            or transport is None
            or transport.get_write_buffer_size()
        ):
            connection.close()
        else:
            way.connector.return_idle(way.places[server].key, connection)
        server.answered(kind.status, self.target)
        figures, fields = way.origin.figures, self.fields
        figures.answered(kind.status)
        if not way.is_for_polls:
            trace_id = _trace_of(fields) if b"raceparent:" in fields else None
            figures.duration.observe(way.loop.time() - self.sent_at, 1, trace_id)
        if head.size == IN_CHUNKS:
            volatile["content-length"] = str(len(body))
        name, stable = server.incarnation, kind.stable
        answer = WholeAnswer(kind.status, head_bytes, body, name, stable, volatile, history)
        self.receiver.on_answer(answer)
        self.is_reported = True

    def on_detached(self, connection: RawConnection, received: bytes) -> None:
        """Read the answer in a task: it is not plain, or the connection is lost."""
        self.way.read_in_task(self, connection, received)

    def lost(self) -> None:
        """Fail the request, because its response is lost."""
        self.way.lost(self)

    def abandon(self) -> None:
        """Abandon the request, and close its connection."""
        self.way.abandon(self)

    def attempt(self) -> Attempt:
        """Return the attempt that `Origin.send` would make for this request, which was sent."""
        fields = CIMultiDict(http1.parse_field_lines(self.fields))
        way, body = self.way, self.body or None
        request = OriginRequest(
            self.method, self.target, fields, body, way.wait_s, way.is_for_polls
        )
        return Attempt(request, self.server)


class _RequestLines:
    """The request lines for one server; `of_append` caches those of appends without a query."""

    __slots__ = ("_host", "_server", "key", "of_append")

    def __init__(self, server: OriginServer) -> None:
        self.key = key_of(server.at("/"))
        self._server = server
        self._host = f" HTTP/1.1\r\nHost: {server.host}\r\n"
        # Clients append to the same stream again and again.
        self.of_append = lru_cache(MOST_LINES)(partial(self.of, "POST"))

    def of(self, method: str, target: str) -> bytes | None:
        """Return the start of a request's head; None for a target that needs encoding."""
        path = self._server.own(target)
        return None if _TARGET.match(path) is None else f"{method} {path}{self._host}".encode()


class RawWay:
    """The requests to one origin on idle connections; one timer has the deadlines of all.

    With `is_for_polls` its requests do not count towards the limit of the origin, and their
    durations are not observed.
    """

    def __init__(
        self,
        origin: OriginTraffic,
        connector: Connector,
        wait_s: float,
        *,
        is_for_polls: bool = False,
    ) -> None:
        self.is_for_polls = is_for_polls
        self.heads = PlainHeads()
        self.wait_s = wait_s  # for an answer
        self.origin = origin
        self.connector = connector
        self.loop = asyncio.get_running_loop()
        self._in_flight: dict[RawQuestion, None] = {}  # the oldest first
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.places = {server: _RequestLines(server) for server in origin.servers}

    @override
    def __repr__(self) -> str:
        return f"RawWay({len(self._in_flight)} in flight, {len(self._tasks)} in tasks)"

    @staticmethod
    def block(fields: MultiMapping[str]) -> bytes | None:
        """Return header fields as bytes for `send`; None if the raw way cannot send them."""
        if not _OWN_FIELDS.isdisjoint(map(str.lower, fields)):
            return None
        try:
            return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode()
        except UnicodeEncodeError:  # `Origin.send` reports it to the client
            return None

    def send(
        self, method: str, target: str, fields: bytes, body: bytes, receiver: AnswerReceiver
    ) -> RawQuestion | None:
        """Send a request with a whole body, and the `fields` that `block` returned.

        Return None, and send nothing, if no connection is idle, or `Origin.send` would refuse it.
        """
        origin = self.origin
        now = self.loop.time()
        server = origin.servers.chosen
        if server is None or (origin.requests.is_full and not self.is_for_polls):
            return None
        origin.servers.used_at = now
        place = self.places[server]
        # A query may have a token, which must not be remembered.
        is_cached = method == "POST" and "?" not in target
        line = place.of_append(target) if is_cached else place.of(method, target)
        if line is None or (connection := self.connector.acquire(place.key)) is None:
            return None
        heads, is_head = self.heads, method == "HEAD"
        question = RawQuestion(
            self, server, method, target, fields, body, receiver, now, heads, is_head, connection
        )
        if not self.is_for_polls:
            origin.requests.count += 1
        self._in_flight[question] = None
        if self._timer is None:
            self._timer = self.loop.call_at(now + self.wait_s, self._expire)
        if body or method in WITH_BODY:
            length = b"Content-Length: %d\r\n\r\n" % len(body)
            wire = b"".join((line, fields, length, body))
        else:
            wire = b"".join((line, fields, b"\r\n"))
        try:
            connection.put(question, wire)
        except BaseException:
            self.abandon(question)
            raise
        return question

    def lost(self, question: RawQuestion) -> None:
        """Fail a request whose response is lost, unless its receiver was called already."""
        if question in self._in_flight:
            self.leave(question)
        if not question.is_reported:
            question.is_reported = True
            question.receiver.on_failure(OriginBroken(UNKNOWN))

    def leave(self, question: RawQuestion) -> None:
        """Remove a request from those in flight."""
        del self._in_flight[question]
        if not self.is_for_polls:
            self.origin.requests.count -= 1

    def _release_slot(self) -> None:
        if not self.is_for_polls:
            self.origin.requests.release()

    def read_in_task(
        self, question: RawQuestion, connection: RawConnection, received: bytes
    ) -> None:
        """Let aiohttp read the answer, which begins with `received`, in a task."""
        attempt = question.attempt()
        url = question.server.address(question.target)
        headers = CIMultiDictProxy(attempt.request.headers)
        adopted = self.connector.adopt(self.places[question.server].key, connection)
        with ExitStack() as undone:
            undone.callback(adopted.close)
            connection.set_response_params(
                skip_payload=question.is_head, read_until_eof=True, **READING
            )
            if received:
                connection.data_received(received)
            response = OriginResponse(
                question.method,
                url,
                writer=None,
                continue100=None,
                timer=TimerNoop(),
                request_info=RequestInfo(url, question.method, headers, url),
                traces=[],
                loop=self.loop,
                session=None,  # type: ignore[arg-type] # used only to decode text
                stream_writer=StreamWriter(connection, self.loop),
            )
            attempt.was_sent_before(SentRequest(response, adopted, question.sent_at + self.wait_s))
            held = undone.pop_all()
        held.callback(self._release_slot)
        task = self.loop.create_task(self._read_answer(question, attempt, held))
        self._tasks.add(task)
        task.add_done_callback(partial(self._on_task_done, question, held))
        question.task = task
        del self._in_flight[question]  # `held` releases its slot

    async def _read_answer(self, question: RawQuestion, attempt: Attempt, held: ExitStack) -> None:
        try:
            answer = await self.origin.read_answer(attempt, question.sent_at, held)
        except HeadgateError as error:
            question.receiver.on_failure(error)
            return
        try:
            question.receiver.on_partial_answer(answer)
        except BaseException:
            answer.release()
            raise

    def _on_task_done(
        self, question: RawQuestion, held: ExitStack, task: asyncio.Task[None]
    ) -> None:
        self._tasks.discard(task)
        held.close()  # a task that was cancelled before it started has not done it
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("origin.answer_lost", target=question.target, exc_info=error)
            self.lost(question)

    def abandon(self, question: RawQuestion) -> None:
        """Close the connection of a request, or cancel the task that reads its answer."""
        if question.task is not None:
            question.task.cancel()
        elif question in self._in_flight:
            self.leave(question)
            question.connection.question = None
            question.connection.close()
            if not self.is_for_polls:
                waited_s = self.loop.time() - question.sent_at
                question.server.abandoned(question.target, waited_s)

    def _expire(self) -> None:
        """End the requests that have waited too long as attempts, which blame the server."""
        self._timer = None
        now = self.loop.time()
        for question in list(self._in_flight):
            if question.sent_at + self.wait_s > now:
                self._timer = self.loop.call_at(question.sent_at + self.wait_s, self._expire)
                return
            question.connection.detach()

    async def close(self) -> None:
        """Abandon all requests in flight."""
        if self._timer is not None:
            self._timer.cancel()
        for question in list(self._in_flight):
            self.abandon(question)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


def _trace_of(fields: bytes) -> str | None:
    """Return the id of the trace that the client records, else None."""
    for name, value in http1.parse_field_lines(fields):
        if name.lower() == TRACEPARENT and (context := parse_traceparent(value)) is not None:
            return context.trace_id if context.is_sampled else None
    return None
