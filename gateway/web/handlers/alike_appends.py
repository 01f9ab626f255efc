"""Forward appends with cached request fields and cached patterns of answers.

A client sends the same fields with each append, and an origin answers each with the same head
except for an offset and a date. So the results of the rules in `web.handlers.forwarding` are
cached. Computing them again would be most of the cost of forwarding an append.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace
from typing_extensions import override

from gateway.edge.multi_append import offers
from gateway.errors import OF_THE_ORIGIN, OriginBroken, OriginTimeout
from gateway.later import Later
from gateway.origin.requests import OriginRequest, field_block
from gateway.protocol.http.forwarding import check_loop
from gateway.protocol.http.header_names import FORKED_FROM, MULTI, NEXT_OFFSET
from gateway.protocol.requests import is_closing
from gateway.runtime.quotas import peer_of
from gateway.runtime.writes import Write
from gateway.stepped import Step
from gateway.web.handlers.forwarding import (
    ForwardedRequest,
    fields_to_client,
    fields_to_origin,
    forwarded,
    relayed,
)
from gateway.web.requests.aging_table import AgingTable
from gateway.web.requests.request_body import at_hand

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.edge.followed.writes import Tails
    from gateway.edge.route import EdgeRoute
    from gateway.later import LaterWaiter
    from gateway.origin.answer import OriginAnswer, PendingRequest
    from gateway.protocol.origins.edge_target import EdgeRead
    from gateway.runtime.answer import RouteAnswer
    from gateway.runtime.request_fields import RequestFields
    from gateway.web.handlers.forwarding import ForwardingEffects
    from gateway.web.requests.request import Request

REMEMBERED = 2048  # entries per route, of request fields and of answers: 4 MB each
# Fields by which an answer names other URLs that a write has changed (RFC 9111 section 4.4).
_NAMING = frozenset({"location", "content-location"})
_TAIL = NEXT_OFFSET.lower()


class Pattern(NamedTuple):
    """The cached response and effects of answers to appends that differ only in values.

    `lines` is a format for the values of the fields in `slots`.
    """

    lines: str
    slots: tuple[str, ...]
    like: RouteAnswer
    closes: bool
    offers_multi: bool | None
    is_repeat: bool  # a duplicate append, whose answer may lack the tail

    def fill(self, answer: OriginAnswer) -> RouteAnswer:
        """Return the response for an answer of this pattern."""
        values = tuple(map(answer.volatile.__getitem__, self.slots))
        body = answer.body
        assert body is not None, "answers in parts have no pattern"
        lines = (self.lines % values).encode("utf-8", "surrogateescape")
        return replace(self.like, lines=lines, body=body, length=len(body))


class ForwardedAppend(Later["RouteAnswer"]):
    """The future response to an append that was sent to the origin: an `AnswerReceiver`."""

    __slots__ = ("appends", "completion", "question", "read", "request", "tails")
    appends: AlikeAppends
    request: Request
    read: EdgeRead
    tails: Tails
    question: PendingRequest | None  # None once it is answered
    completion: Step[RouteAnswer] | None  # of an answer that needs the full rules

    def on_answer(self, answer: OriginAnswer) -> None:
        """Set the response by a pattern, if the answer has one, else by the full rules."""
        self.question = None
        if answer.body is None:
            self.request.call_at_end(answer.release)
        try:
            response = self.appends.respond(self, answer)
        except Exception as error:  # noqa: BLE001 - its client gets it
            self._end(None, error)
            return
        if response is None:
            self._complete(answer)
        else:
            self.set_result(response)

    def on_failure(self, error: Exception) -> None:
        """Set the error, and invalidate what the append may have changed."""
        self.question = None
        try:
            if isinstance(error, OriginBroken | OriginTimeout):
                self._invalidate()
        finally:  # nobody else would answer its client
            self._end(None, error)

    @override
    def unsubscribe(self, waiter: LaterWaiter) -> None:
        """Abandon the append if it is not answered: its request was cancelled."""
        super().unsubscribe(waiter)
        if self.done():
            return
        if self.completion is not None:
            self.completion.cancel()
        elif self.question is not None:
            self.question.abandon()
        self._invalidate()

    def _complete(self, answer: OriginAnswer) -> None:
        """Set the response by the rules for all forwarded requests."""
        request, route, passing = self.request, self.appends.route, self.appends.passing
        passed = forwarded(request, self.read, self.tails)
        sent = fields_to_origin(request, route, request.headers)
        self.completion = Step(partial(passing.complete, passed, route, sent, answer), self._end)
        self.completion.run()

    def _end(self, response: RouteAnswer | None, error: BaseException | None) -> None:
        """Set the response, or an error, which is logged if the origin has given no answer."""
        if error is None:
            assert response is not None, "a write is not handed over"
            self.set_result(response)
            return
        if isinstance(error, OF_THE_ORIGIN):
            self.appends.route.log_failure(error, self.read.path)
        self.set_exception(error)

    def _invalidate(self) -> None:
        passed = forwarded(self.request, self.read, self.tails)
        self.appends.passing.invalidate_unsure(passed, self.appends.route)


class AlikeAppends:
    """The cached request fields and answers of appends to one route of an HTTP origin."""

    def __init__(self, route: EdgeRoute, passing: ForwardingEffects) -> None:
        self.route = route
        self.passing = passing
        # By the fields of a request and the address that it came from: those for the origin.
        self._blocks: AgingTable[tuple[RequestFields, str], bytes] = AgingTable(REMEMBERED)
        self._patterns: AgingTable[tuple[str | None, Hashable], Pattern] = AgingTable(REMEMBERED)

    def send(self, request: Request, target: str) -> ForwardedAppend | None:
        """Send an append to the origin, and return its future response.

        Return None, and send nothing, if it needs the full rules. Raises LoopDetected, and
        BadRequest for fields that cannot be sent.
        """
        route, transport = self.route, request.connection.transport
        body = request.whole or at_hand(request)
        if body is None or transport is None or "?" in target:
            return None
        if route.observer is not None:  # it stores something first, and may have to wait
            return None
        key = request.fields, peer_of(transport) or ""
        block = self._blocks.fresh.get(key) or self._blocks.find(key)
        if block is None and (block := self._rendered(request, key)) is None:
            return None
        for name, value in request.own.fields:
            block += f"{name}: {value}\r\n".encode()
        append, read = ForwardedAppend(), route.parse(target)
        append.appends, append.request, append.read, append.completion = self, request, read, None
        append.tails = route.feeds.writes.tails(read.path)
        append.question = route.origin.start(
            OriginRequest("POST", read.target, block, body), append
        )
        return append

    def _rendered(self, request: Request, key: tuple[RequestFields, str]) -> bytes | None:
        """Return the fields for the origin of requests like this one, without its own.

        Return None if the full rules are needed.
        """
        headers = request.fields.headers
        check_loop(headers, self.route.requests.via)
        if FORKED_FROM in headers or MULTI in headers:
            return None
        block = field_block(fields_to_origin(request, self.route, headers))
        if request.fields.are_known:
            self._blocks.add(key, block)
        return block

    def respond(self, append: ForwardedAppend, answer: OriginAnswer) -> RouteAnswer | None:
        """Apply an answer's effects and return its response; None if the full rules are needed.

        The result is that of `ForwardingEffects.complete`.
        """
        if answer.body is None or answer.stable is None:
            return None
        # Age goes into the Cache-Status line, which is part of the pattern. It is nearly always 0.
        key = (answer.volatile.get("age"), answer.stable)
        pattern = self._patterns.fresh.get(key) or self._patterns.find(key)
        if pattern is None:
            pattern = self._learn(key, append, answer)
        tail = answer.volatile.get(_TAIL)
        if pattern is None or (pattern.is_repeat and not tail):
            return None
        route, path = self.route, append.read.path
        if pattern.offers_multi is not None:
            route.multi_append.is_known = pattern.offers_multi
        if tail is not None:
            route.feeds.writes.note_answer(path, append.tails, tail)
        write = Write(
            prefix=route.prefix,
            path=path,
            only_grown=tail is not None,
            tail=tail,
            closed=pattern.closes or append.request.fields.closes,
        )
        self.passing.announce_write(route, write)
        return pattern.fill(answer)

    def _learn(
        self, key: tuple[str | None, Hashable], append: ForwardedAppend, answer: OriginAnswer
    ) -> Pattern | None:
        passed = ForwardedRequest("POST", append.request.headers, append.read, "")
        pattern = _pattern(passed, self.route, answer)
        if pattern is not None:
            self._patterns.add(key, pattern)
        return pattern


def _pattern(passed: ForwardedRequest, route: EdgeRoute, answer: OriginAnswer) -> Pattern | None:
    """Return the pattern of an answer, by the rules for all forwarded requests.

    Return None if the result depends on more than the key of the pattern.
    """
    status = answer.status
    if not (200 <= status < 400 and _NAMING.isdisjoint(answer.volatile)) or status == 304:
        return None
    fields = fields_to_client(passed, route, answer, {})
    like = relayed(passed, answer, fields)
    lines, slots = [], []
    for name, value in fields.items():
        if name.lower() in answer.volatile:
            slots.append(name.lower())
            lines.append(f"{_escaped(name)}: %s\r\n")
        else:
            lines.append(_escaped(f"{name}: {value}\r\n"))
    return Pattern(
        lines="".join(lines),
        slots=tuple(slots),
        like=replace(like, lines=b"", body=b""),
        closes=is_closing(answer.headers),
        offers_multi=offers(answer.headers) if status < 300 else None,
        is_repeat=status == 204 and "Producer-Seq" in answer.headers,
    )


def _escaped(text: str) -> str:
    """Return a text escaped for use in a format."""
    return text.replace("%", "%%")
