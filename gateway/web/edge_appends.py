"""Appends that are passed on to an HTTP origin without a request object or a task.

On the ordinary way one costs 214 us of CPU: a task and its timers, aiohttp's server and client, the
fields of request and answer taken apart and put together again. Writers repeat themselves, and
origins do: here what goes out for equal heads, and what an equal answer means, is looked up, and
the answer is written when it has come. Of a credential that is the origin's own nothing is
remembered, so there the fields are put together each time. What is not as usual in an answer is
seen to by the same rules as on the ordinary way (`web.passing_on`), and what has to be waited for
by a task.
"""

from __future__ import annotations

import asyncio
import contextlib
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from multidict import CIMultiDict

from gateway.edge.multi_append import offers
from gateway.errors import OF_THE_ORIGIN, HeadgateError, OriginBroken, OriginTimeout
from gateway.origin.whole_answer import WholeAnswer
from gateway.protocol import cache_status, forwarding, http1, repair
from gateway.protocol.forwarding import SCHEME, Sender
from gateway.protocol.header_names import FORKED_FROM, MULTI, NEXT_OFFSET
from gateway.protocol.paths import canonical_host
from gateway.protocol.requests import is_closing
from gateway.runtime.answer import Relayed
from gateway.runtime.quotas import peer_of
from gateway.runtime.writes import Write
from gateway.telemetry import traffic as counted
from gateway.web.passing_on import (
    LEFT_WRITE_S,
    PassedOn,
    PassingOn,
    passed_back,
    passed_on,
    relayed,
)
from gateway.web.request_head import base_of, scheme_of
from gateway.web.responses import Relay, bodyless, head_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from multidict import MultiMapping

    from gateway.edge.route import EdgeRoute
    from gateway.live.contract import Client
    from gateway.origin.client import OriginAnswer
    from gateway.origin.whole_answer import Asked
    from gateway.runtime.answer import Answered
    from gateway.runtime.context import Context
    from gateway.runtime.request_fields import RequestFields

# Of each route, requests by their heads, and answers by theirs: 4 MB each; then all are forgotten.
REMEMBERED = 2048
# By these an answer names what else a write has changed.
_NAMING = frozenset({"location", "content-location"})
_TAIL = NEXT_OFFSET.lower()


class _Sent(NamedTuple):
    """What goes out for appends with equal heads by clients at one address."""

    headers: MultiMapping[str]  # as they came; while they are held, nothing else has their id
    block: bytes
    closes: bool


class _Told(NamedTuple):
    """What equal answers to appends are told as, and mean.

    `head` is a format for the values of the fields that `slots` name. `common` says which lines of
    ours come after it: a date, CORS.
    """

    head: str
    slots: tuple[str, ...]
    own_date: bool
    own_cors: bool
    cache: bytes
    closes: bool
    offers_multi: bool | None
    is_repeat: bool  # it may lack where the stream ends
    has_body: bool


class EdgeAppends:
    """Of a route to an HTTP origin: `take` says False of an append that is not for it."""

    def __init__(self, shared: Context, route: EdgeRoute) -> None:
        self.shared = shared
        self.route = route
        self.passing = PassingOn(shared)
        self._sent: dict[tuple[int, str], _Sent] = {}
        self._told: dict[tuple[str | None, Hashable], _Told | None] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def take(self, client: Client, name: str, fields: RequestFields, body: bytes) -> bool:
        """Pass it on."""
        route = self.route
        raw = route.origin.raw
        if raw is None:
            return False
        address, path = peer_of(client.transport) or "", f"{route.prefix}/{name}"
        sent = self._sent.get((id(fields.headers), address))
        if sent is None:
            sent = self._rendered(fields, path, address)
            if sent is None:
                return False
        append = EdgeAppend(self, client, path, sent, len(body))
        append.question = raw.ask("POST", append.path, sent.block, body, append)
        if append.question is None:
            return False
        client.take(append.client_left)
        return True

    def _rendered(self, asked: RequestFields, path: str, address: str) -> _Sent | None:
        """What goes out instead of these fields; None where that takes a closer look."""
        route, headers = self.route, asked.headers
        if FORKED_FROM in headers or MULTI in headers:
            return None
        try:
            forwarding.check_loop(headers, route.via)
        except HeadgateError:
            return None
        asker = Sender(address, scheme_of(headers, SCHEME), canonical_host(headers.get("Host", "")))
        fields = passed_on(route, route.told_origin("POST", path, headers), asker)
        assert route.origin.raw is not None, "looked at before"
        block = route.origin.raw.block(fields)
        if block is None:
            return None
        sent = _Sent(headers, block, is_closing(headers))
        if asked.are_known:
            if len(self._sent) >= REMEMBERED:
                self._sent.clear()
            self._sent[id(headers), address] = sent
        return sent

    def told(self, append: EdgeAppend, answer: WholeAnswer) -> _Told | None:
        """What an answer is told as; None where that takes a closer look."""
        # Its age is told in another place, and is nearly always 0.
        key = (answer.volatile.get("age"), answer.stable)
        if key in self._told:
            return self._told[key]
        told = _told(append, answer)
        if answer.stable is not None:
            if len(self._told) >= REMEMBERED:
                self._told.clear()
            self._told[key] = told
        return told

    def see_to(self, append: EdgeAppend, answer: OriginAnswer | WholeAnswer) -> None:
        """Answer in a task what has to be waited for."""
        task = asyncio.get_running_loop().create_task(append.complete(answer))
        append.task = task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class EdgeAppend:
    """One append that is at the origin; its client's connection waits."""

    __slots__ = (
        *("_appends", "_began", "_client", "_grace", "_is_counted", "_sent", "_size", "_tails"),
        *("path", "question", "route", "task"),
    )

    def __init__(
        self,
        appends: EdgeAppends,
        client: Client,
        path: str,
        sent: _Sent,
        size: int,
    ) -> None:
        self._appends = appends
        self._began = perf_counter()
        self._client = client
        self._sent = sent
        self._size = size
        self._is_counted = False
        self._grace: asyncio.TimerHandle | None = None  # runs once its client has left
        self.route = appends.route
        self.path = path
        self.question: Asked | None = None  # at the origin
        self.task: asyncio.Task[None] | None = None  # the task that waits on after the answer
        self._tails = self.route.feeds.doubts.tails(path)

    @property
    def passed(self) -> PassedOn:
        """The request as on the ordinary way."""
        headers, read = self._sent.headers, self.route.parse(self.path)
        return PassedOn("POST", headers, read, base_of(headers, SCHEME), None, self._tails)

    def client_left(self, _: object) -> None:
        """Wait a little longer for the origin's answer to an append whose client has left."""
        self._grace = asyncio.get_running_loop().call_later(LEFT_WRITE_S, self._give_up)

    def _give_up(self) -> None:
        """Free the place at the origin of an append that may or may not have been done."""
        if self._is_counted:
            return
        if self.task is not None:
            self.task.cancel()
        else:
            assert self.question is not None, "its client was told that it is taken"
            self.question.abandon()
            self._appends.passing.is_unsure(self.passed, self.route)
        self._count(counted.CUT, 0)

    # Of an Asker

    def answered(self, answer: WholeAnswer) -> None:
        """The origin's answer is here."""
        try:
            told = self._appends.told(self, answer)
            tail = answer.volatile.get(_TAIL)
            if told is None:
                self._look_closer(answer)
            elif told.is_repeat and not tail:
                self._appends.see_to(self, answer)
            else:
                self._is_done(told, tail)
                wire = _wire(told, answer, self._appends.shared)
                self._reply(wire, answer.status, len(answer.body))
        except BaseException:
            self._client.abandon()
            raise

    def _is_done(self, told: _Told, tail: str | None) -> None:
        """The same as `passing_on` makes of an accepted append."""
        route = self.route
        if told.offers_multi is not None:
            route.multi_append.stands = told.offers_multi
        write = Write(
            prefix=route.prefix,
            path=self.path,
            only_grown=tail is not None,
            tail=tail,
            closed=told.closes or self._sent.closes,
        )
        if tail is not None:
            route.feeds.doubts.answered(self.path, self._tails, tail)
        self._appends.passing.wrote(route, write)

    def _look_closer(self, answer: WholeAnswer) -> None:
        if repair.lacks_end("POST", answer.status, answer.headers):
            self._appends.see_to(self, answer)
            return
        self.route.multi_append.heard("POST", answer)
        answered = self._appends.passing.answered(self.passed, self.route, answer, {})
        head = self._head(answered)
        self._reply(head + answer.body, answer.status, len(answer.body))

    def began(self, answer: OriginAnswer) -> None:
        """It is long, or not plain."""
        self._appends.see_to(self, answer)

    def failed(self, error: HeadgateError) -> None:
        """There is none."""
        try:
            shared, route = self._appends.shared, self.route
            if isinstance(error, OriginBroken | OriginTimeout):
                self._appends.passing.is_unsure(self.passed, route)
            if isinstance(error, OF_THE_ORIGIN):
                route.log_failure(error, self.path)
            refusal = shared.problem(error)
            lines = self._lines(refusal.status) + cache_status.OTHER_METHOD
            self._reply(http1.serialize(refusal, lines), refusal.status, len(refusal.body))
        except BaseException:
            self._client.abandon()
            raise

    # The client's answer

    async def complete(self, answer: OriginAnswer | WholeAnswer) -> None:
        """Wait for what an answer lacks, and for its body."""
        try:
            fields = CIMultiDict(http1.parse_field_lines(self._sent.block))
            passing = self._appends.passing
            answered = await passing.completed(self.passed, self.route, fields, answer)
            head = self._head(answered)
            if isinstance(answer, WholeAnswer):
                self._reply(head + answer.body, answer.status, len(answer.body))
            else:
                assert isinstance(answered.answer, Relayed), "the same"
                await self._stream(answer, answered.answer, head)
        except BaseException:
            self._client.abandon()
            raise

    async def _stream(self, answer: OriginAnswer, relayed: Relayed, head: bytes) -> None:
        """Its body as it comes, as long as the client is there."""
        client = self._client
        has_body = http1.has_body(relayed.status)
        timeout_s = self._appends.shared.timeouts.body
        relay = Relay(answer, timeout_s=timeout_s, chunked=relayed.length is None)
        is_there = client.transport is not None
        client.write(head)
        if is_there and has_body:
            with contextlib.suppress(ConnectionError):
                await relay.to(client)
        answer.release()
        client.reply(b"")
        self._count(relayed.status if is_there else counted.CUT, relay.sent)

    def _head(self, answered: Answered) -> bytes:
        relayed, cache = answered
        assert isinstance(relayed, Relayed), "as a request that is passed on is answered"
        lines = self._lines(relayed.status, date=relayed.own_date, cors=relayed.own_cors) + cache
        if http1.has_body(relayed.status):
            return head_of(relayed, lines)
        return bodyless(relayed, lines)

    def _lines(self, status: int, *, date: bool = True, cors: bool = True) -> bytes:
        """Ours, of the moment."""
        lines = self._appends.shared.lines
        request_id = lines.new_request_id() if status >= 400 else None
        return lines.own(
            request_id=request_id,
            origin=self._sent.headers.get("Origin"),
            connection=None,
            date=date,
            cors=cors,
        )

    def _reply(self, wire: bytes, status: int, size: int) -> None:
        """Answer, and count."""
        is_there = self._client.reply(wire)
        self._count(status if is_there else counted.CUT, size if is_there else 0)

    def _count(self, status: int, size: int) -> None:
        if self._is_counted:
            return
        self._is_counted = True
        if self._grace is not None:
            self._grace.cancel()
        traffic = self.route.traffic
        traffic.request_bytes += self._size
        operation = counted.CLOSE if self._sent.closes else counted.APPEND
        traffic.answered(operation, status, size, perf_counter() - self._began)


def _told(append: EdgeAppend, answer: WholeAnswer) -> _Told | None:
    """By the rules of all that is passed on; None where they depend on more than is looked up."""
    status = answer.status
    if not (200 <= status < 400 and _NAMING.isdisjoint(answer.volatile)) or status == 304:
        return None
    passed = append.passed
    answered = relayed(passed, answer, passed_back(passed, append.route, answer, {}))
    known, cache = answered
    assert isinstance(known, Relayed), "as a request that is passed on is answered"
    status_line, _, lines = known.head.partition(b"\r\n")
    head, slots = [status_line.decode()], []
    for name, value in http1.parse_field_lines(lines):
        if name.lower() in answer.volatile:
            slots.append(name.lower())
            head.append(f"{_escaped(name)}: %s")
        else:
            head.append(_escaped(f"{name}: {value}"))
    return _Told(
        head="\r\n".join([*head, ""]),
        slots=tuple(slots),
        own_date=known.own_date,
        own_cors=known.own_cors,
        cache=cache,
        closes=is_closing(answer.headers),
        offers_multi=offers(answer.headers) if status < 300 else None,
        is_repeat=status == 204 and "Producer-Seq" in answer.headers,
        has_body=http1.has_body(status),
    )


def _escaped(text: str) -> str:
    """As it stands in a format."""
    return text.replace("%", "%%")


def _wire(told: _Told, answer: WholeAnswer, shared: Context) -> bytes:
    """A whole answer for the client."""
    volatile = answer.volatile
    head = told.head % tuple([volatile[name] for name in told.slots])
    date, cors = shared.lines.parts_at(shared.clock())
    return b"".join(
        (
            head.encode("utf-8", "surrogateescape"),
            date if told.own_date else b"",
            cors if told.own_cors else b"",
            shared.lines.referrer,
            told.cache,
            b"Content-Length: %d\r\n\r\n" % len(answer.body) if told.has_body else b"\r\n",
            answer.body,
        )
    )
