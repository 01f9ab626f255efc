"""The raw way to an origin: a request goes out, and its plain answer comes, without a task.

aiohttp's client takes a third of what passing a request on costs, in a dozen places (its request,
URL, writer, timers, pool and parser, a task that waits). Here a request is written as it is, on a
connection of the same pool, and its answer is given to whoever asked when it has come: 10 us
instead of 110. Only what goes well is done here. Where no connection is kept, the caller goes
through `Origin.send`; an answer that is not plain, and whatever fails, becomes an attempt as that
has them, whose request has been sent already: what is tried again, what a server is blamed for and
what is told of it stands there.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from functools import partial
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

# What goes out as it is written, whatever made it: the rest is for a URL to spell.
_TARGET = re.compile(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*(?:\?[A-Za-z0-9._~!$&'()*+,;=:@%/?-]+)?\Z")
# How a request is framed is written here; the others are about its connection.
_OF_THE_WAY = frozenset({"connection", "content-length", "host", "transfer-encoding"})
REMEMBERED = 512  # targets that were appended to; the longest take 2 MB, then all are forgotten
UNKNOWN = "something failed here: it is not known what the origin has answered"
WITH_BODY = frozenset({"POST", "PUT", "PATCH", "DELETE"})  # without one they say so


class OriginTraffic(Protocol):
    """The part of `origin.client.Origin` that the raw way needs."""

    servers: OriginServers
    figures: OriginMetrics
    requests: RequestsInFlight

    async def go_on(self, attempt: Attempt, began: float, held: ExitStack) -> OriginAnswer:
        """Return the answer to a request that has been sent."""


class RawQuestion(Struct, eq=False):
    """A request that is out, until its answer is there or somebody else waits for it."""

    way: RawWay
    server: OriginServer
    method: str
    target: str
    fields: bytes
    body: bytes
    asker: AnswerReceiver
    began: float  # loop time
    heads: PlainHeads
    is_head: bool
    connection: RawConnection
    is_told: bool = False  # its asker, who is called once
    task: asyncio.Task[None] | None = None

    @override
    def __repr__(self) -> str:
        return f"RawQuestion({self.method} {self.target}, {self.server!r})"

    def on_response(
        self, connection: RawConnection, head: PlainHead, head_bytes: bytes, body: bytes
    ) -> None:
        """Give the answer to whoever asked, and keep the connection."""
        way, server, kind, told = self.way, self.server, head.kind, head.volatile
        way.leave(self)
        history, transport = connection.history, connection.transport
        if (
            kind.is_last
            or connection.should_close
            or transport is None
            or transport.get_write_buffer_size()
        ):
            connection.close()
        else:
            way.connector.give_back(way.places[server].key, connection)
        server.answered()
        figures, fields = way.origin.figures, self.fields
        figures.answered(kind.status)
        if not way.is_for_polls:
            trace_id = _trace_of(fields) if b"raceparent:" in fields else None
            figures.duration.observe(way.loop.time() - self.began, 1, trace_id)
        if head.size == IN_CHUNKS:
            told["content-length"] = str(len(body))
        name, stable = server.incarnation, kind.stable
        answer = WholeAnswer(kind.status, head_bytes, body, name, stable, told, history)
        self.asker.answered(answer)
        self.is_told = True

    def on_detached(self, connection: RawConnection, came: bytes) -> None:
        """Have a task go on: the answer is not plain, or the connection is lost."""
        self.way.go_on(self, connection, came)

    def lost(self) -> None:
        """Fail the request, because its response is lost."""
        self.way.lost(self)

    def abandon(self) -> None:
        """Give up: nobody waits for the response on its connection any more."""
        self.way.abandon(self)

    def attempt(self) -> Attempt:
        """Return the attempt that `Origin.send` would make for this request, which was sent."""
        fields = CIMultiDict(http1.parse_field_lines(self.fields))
        way, body = self.way, self.body or None
        request = OriginRequest(
            self.method, self.target, fields, body, way.wait_s, way.is_for_polls
        )
        return Attempt(request, self.server)


class _Place:
    """A server, as the way to it needs it."""

    __slots__ = ("_host", "_lines", "_server", "key")

    def __init__(self, server: OriginServer) -> None:
        self.key = key_of(server.at("/"))
        self._server = server
        self._host = f" HTTP/1.1\r\nHost: {server.host}\r\n"
        self._lines: dict[str, bytes] = {}  # of appends, by target

    def line(self, method: str, target: str) -> bytes | None:
        """Return the start of a request's head; None for a target that needs encoding."""
        is_append = method == "POST"  # which goes to the same stream again and again
        line = self._lines.get(target) if is_append else None
        if line is None:
            path = self._server.own(target)
            if _TARGET.match(path) is None:
                return None
            line = f"{method} {path}{self._host}".encode()
            if is_append:
                if len(self._lines) >= REMEMBERED:
                    self._lines.clear()
                self._lines[target] = line
        return line


class RawWay:
    """Asks on connections that are kept, and keeps the time of all questions with one timer.

    One `is_for_polls`: they take none of the places at the origin, and are not timed.
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
        self._out: dict[RawQuestion, None] = {}  # the longest out first
        self._timer: asyncio.TimerHandle | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.places = {server: _Place(server) for server in origin.servers}

    @override
    def __repr__(self) -> str:
        return f"RawWay({len(self._out)} out, {len(self._tasks)} go on)"

    @staticmethod
    def block(fields: MultiMapping[str]) -> bytes | None:
        """Return header fields as `send` takes them; None where they are not for this way."""
        if not _OF_THE_WAY.isdisjoint(map(str.lower, fields)):
            return None
        try:
            return "".join([f"{name}: {value}\r\n" for name, value in fields.items()]).encode()
        except UnicodeEncodeError:  # which `send` tells its client
            return None

    def send(
        self, method: str, target: str, fields: bytes, body: bytes, asker: AnswerReceiver
    ) -> RawQuestion | None:
        """Send a request whose body is here; its `fields` are those of `block`.

        None, and nothing is done, where no connection is kept for it, or `send` would refuse it.
        """
        origin = self.origin
        now = self.loop.time()
        server = origin.servers.up_now(now)
        if server is None or (origin.requests.is_full and not self.is_for_polls):
            return None
        place = self.places[server]
        line = place.line(method, target)
        if line is None or (connection := self.connector.acquire(place.key)) is None:
            return None
        heads, is_head = self.heads, method == "HEAD"
        question = RawQuestion(
            self, server, method, target, fields, body, asker, now, heads, is_head, connection
        )
        if not self.is_for_polls:
            origin.requests.count += 1
        self._out[question] = None
        if self._timer is None:
            self._timer = self.loop.call_at(now + self.wait_s, self._look)
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
        """Fail a request whose response is lost, unless its caller has its outcome already."""
        if question in self._out:
            self.leave(question)
        if not question.is_told:
            question.is_told = True
            question.asker.failed(OriginBroken(UNKNOWN))

    def leave(self, question: RawQuestion) -> None:
        """Count a request less that is out."""
        del self._out[question]
        if not self.is_for_polls:
            self.origin.requests.count -= 1

    def _leave(self) -> None:
        if not self.is_for_polls:
            self.origin.requests.release()

    def go_on(self, question: RawQuestion, connection: RawConnection, came: bytes) -> None:
        """Have aiohttp read the answer, of which this has come, and a task wait for it."""
        attempt = question.attempt()
        url = question.server.address(question.target)
        headers = CIMultiDictProxy(attempt.request.headers)
        adopted = self.connector.adopt(self.places[question.server].key, connection)
        with ExitStack() as undone:
            undone.callback(adopted.close)
            connection.set_response_params(
                skip_payload=question.is_head, read_until_eof=True, **READING
            )
            if came:
                connection.data_received(came)
            response = OriginResponse(
                question.method,
                url,
                writer=None,
                continue100=None,
                timer=TimerNoop(),
                request_info=RequestInfo(url, question.method, headers, url),
                traces=[],
                loop=self.loop,
                session=None,  # type: ignore[arg-type] # which it only asks for a coding of text
                stream_writer=StreamWriter(connection, self.loop),
            )
            attempt.was_sent_before(SentRequest(response, adopted, question.began + self.wait_s))
            held = undone.pop_all()
        held.callback(self._leave)
        task = self.loop.create_task(self._going_on(question, attempt, held))
        self._tasks.add(task)
        task.add_done_callback(partial(self._went_on, question, held))
        question.task = task
        del self._out[question]  # its place is given back with what is held

    async def _going_on(self, question: RawQuestion, attempt: Attempt, held: ExitStack) -> None:
        try:
            answer = await self.origin.go_on(attempt, question.began, held)
        except HeadgateError as error:
            question.asker.failed(error)
            return
        try:
            question.asker.began(answer)
        except BaseException:
            answer.release()
            raise

    def _went_on(self, question: RawQuestion, held: ExitStack, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        held.close()  # of one that was given up before it began
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("origin.answer_lost", target=question.target, exc_info=error)
            self.lost(question)

    def abandon(self, question: RawQuestion) -> None:
        """Close the connection of a question, or give up what goes on."""
        if question.task is not None:
            question.task.cancel()
        elif question in self._out:
            self.leave(question)
            question.connection.question = None
            question.connection.close()

    def _look(self) -> None:
        """Let those whose time is over go on: they are told so, and the server is marked."""
        self._timer = None
        now = self.loop.time()
        for question in list(self._out):
            if question.began + self.wait_s > now:
                self._timer = self.loop.call_at(question.began + self.wait_s, self._look)
                return
            question.connection.detach()

    async def close(self) -> None:
        """Give up all that is out."""
        if self._timer is not None:
            self._timer.cancel()
        for question in list(self._out):
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
