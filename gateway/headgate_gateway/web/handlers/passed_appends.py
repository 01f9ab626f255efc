"""Appends that are passed on by plans: what equal ones from one address have in common.

A client sends the same fields with each append, and an origin answers each with the same head
except for an offset and a date. So the results of the rules in `web.handlers.forwarding` are
cached: those for the fields in the plan, those for answers in patterns. Computing them again would
be most of the cost of forwarding an append.
"""

from __future__ import annotations

import asyncio
from functools import partial
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.edge.origin_requests import offers
from headgate_gateway.errors import OriginBroken, OriginTimeout
from headgate_gateway.origin.requests import OriginRequest, field_block
from headgate_gateway.protocol.http.header_names import FORKED_FROM, MULTI, NEXT_OFFSET
from headgate_gateway.protocol.requests import is_closing
from headgate_gateway.runtime.quotas import peer_of
from headgate_gateway.runtime.write_journal import Write
from headgate_gateway.telemetry import traffic as counted
from headgate_gateway.web.asks.ask import OriginAsk, Plan
from headgate_gateway.web.handlers.forwarding import (
    LEFT_WRITE_S,
    ForwardedRequest,
    fields_to_origin,
    forwarded,
    relayed,
)
from headgate_gateway.web.requests.blocks import AgingTable
from headgate_gateway.web.requests.request import exchange_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from multidict import MultiMapping

    from headgate_gateway.edge.followed.followed_table import Tails
    from headgate_gateway.edge.route import EdgeRoute
    from headgate_gateway.origin.answer import OriginAnswer
    from headgate_gateway.origin.client import SentRequest
    from headgate_gateway.protocol.requests import Read
    from headgate_gateway.routes.answers import RouteAnswer
    from headgate_gateway.runtime.request_fields import RequestFields
    from headgate_gateway.web.requests.blocks import KnownRequest
    from headgate_gateway.web.requests.request import ClientConnection, Request

REMEMBERED = 2048  # patterns of answers per route: 4 MB
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


class PassedPlan(Plan, frozen=True, gc=False, eq=False):
    """The decisions on an append with these fields, from one address, to a path of an origin."""

    read: Read
    block: bytes  # its fields for the origin, without its own
    appends: PassedAppends

    @override
    def ask(self, name: str, connection: ClientConnection, known: KnownRequest) -> PassedAsk:
        return PassedAsk(self, name, connection, known, perf_counter(), None, False)


class PassedAsk(OriginAsk, gc=False, eq=False):
    """An append under way at the origin: an `AnswerReceiver`."""

    operation = counted.APPEND
    plan: PassedPlan
    tails: Tails = ()
    pending: SentRequest | None = None  # None once it is answered

    def on_answer(self, answer: OriginAnswer) -> None:
        """Answer by a pattern, if the origin's answer has one, else by the full rules."""
        self.pending, plan = None, self.plan
        try:
            response = plan.appends.respond(plan.read, plan.fields, self.tails, answer)
        except Exception as error:  # noqa: BLE001 - its client gets it
            answer.release()
            self.end(error)
            return
        if response is None:
            self.go_on_in_handler(partial(self._complete, answer))
        else:
            self.end(response)

    def on_failure(self, error: Exception) -> None:
        """Answer with the error, and invalidate what the append may have changed."""
        self.pending = None
        try:
            if isinstance(error, OriginBroken | OriginTimeout):
                self._invalidate()
        finally:  # nothing else would answer its client
            self.end(error)

    @override
    def on_disconnect(self) -> None:
        asyncio.get_running_loop().call_later(LEFT_WRITE_S, self.cancel)

    @override
    def cancel(self) -> None:
        """Cancel the append unless it is answered: it may have been carried out."""
        pending, self.pending = self.pending, None
        if pending is not None:
            pending.abandon()
            self._invalidate()
            self.end(asyncio.CancelledError())

    @override
    def count(self, outcome: RouteAnswer, size: int, seconds: float) -> None:
        self.plan.route.traffic.answered(counted.APPEND, outcome.status, size, seconds)

    async def _complete(self, answer: OriginAnswer, request: Request) -> RouteAnswer:
        """Return the response by the rules for all forwarded requests."""
        plan = self.plan
        if answer.body is None:
            request.call_at_end(answer.release)
        request.limit_grace(LEFT_WRITE_S)
        sent = fields_to_origin(request, plan.route, request.headers)
        return await forwarded(request, plan.route, plan.read, self.tails).complete(sent, answer)

    def _invalidate(self) -> None:
        plan = self.plan
        headers = plan.fields.headers
        ForwardedRequest(plan.route, "POST", headers, plan.read, self.tails).invalidate_unsure()


class PassedAppends:
    """The appends to one route of an HTTP origin that go by plans, and the patterns of answers."""

    def __init__(self, route: EdgeRoute) -> None:
        self.route = route
        self._patterns: AgingTable[tuple[str | None, Hashable], Pattern] = AgingTable(REMEMBERED)

    def plan(self, request: Request, read: Read) -> PassedPlan | None:
        """Return the plan of appends like this one; None if they need the full rules.

        Raises BadRequest for fields that cannot be sent.
        """
        route, fields = self.route, request.fields
        if not (fields.are_known and is_ordinary(fields.headers)):
            return None
        block = field_block(fields_to_origin(request, route, fields.headers))
        principal = exchange_of(request).principal
        key = request.target, fields, peer_of(request.transport)
        return PassedPlan(key, route, fields, principal, self.send, read, block, self)

    def send(self, _name: str, ask: PassedAsk) -> None:
        """Send an append to the origin."""
        plan, known = ask.plan, ask.known
        block = plan.block
        for name, value in known.own.fields:
            block += f"{name}: {value}\r\n".encode()
        ask.tails = self.route.feeds.writes.tails(plan.read.path)
        request = OriginRequest("POST", plan.read.target, block, known.body)
        ask.pending = self.route.origin.start(request, ask)

    def respond(
        self, read: Read, fields: RequestFields, tails: Tails, answer: OriginAnswer
    ) -> RouteAnswer | None:
        """Apply an answer's effects and return its response; None if the full rules are needed.

        The result is that of `ForwardedRequest.complete`. `tails` are those of the streams
        followed there when the append was sent.
        """
        if answer.body is None or answer.stable is None:
            return None
        # Age goes into the Cache-Status line, which is part of the pattern. It is nearly always 0.
        key = (answer.volatile.get("age"), answer.stable)
        pattern = self._patterns.fresh.get(key) or self._patterns.find(key)
        if pattern is None:
            pattern = _pattern(ForwardedRequest(self.route, "POST", fields.headers, read), answer)
            if pattern is not None:
                self._patterns.add(key, pattern)
        tail = answer.volatile.get(_TAIL)
        if pattern is None or (pattern.is_repeat and not tail):
            return None
        route, path = self.route, read.path
        if pattern.offers_multi is not None:
            route.multi_append.is_known = pattern.offers_multi
        if tail is not None:
            route.feeds.writes.note_answer(path, tails, tail)
        closed = pattern.closes or fields.closes
        grown, prefix = tail is not None, route.prefix
        write = Write(prefix=prefix, path=path, only_grown=grown, tail=tail, closed=closed)
        route.announce_write(write)
        return pattern.fill(answer)


def is_ordinary(headers: MultiMapping[str]) -> bool:
    """Return whether no field of an append asks for a special answer."""
    return FORKED_FROM not in headers and MULTI not in headers


def _pattern(passed: ForwardedRequest, answer: OriginAnswer) -> Pattern | None:
    """Return the pattern of an answer, by the rules for all forwarded requests.

    Return None if the result depends on more than the key of the pattern.
    """
    status = answer.status
    if not (200 <= status < 400 and _NAMING.isdisjoint(answer.volatile)) or status == 304:
        return None
    fields = passed.fields_to_client(answer, {})
    like = relayed("POST", answer, fields)
    lines, slots = [], []
    for name, value in fields.items():
        if name.lower() in answer.volatile:
            slots.append(name.lower())
            lines.append(f"{name}: ".replace("%", "%%") + "%s\r\n")
        else:
            lines.append(f"{name}: {value}\r\n".replace("%", "%%"))
    return Pattern(
        lines="".join(lines),
        slots=tuple(slots),
        like=replace(like, lines=b"", body=b""),
        closes=is_closing(answer.headers),
        offers_multi=offers(answer.headers) if status < 300 else None,
        is_repeat=status == 204 and "Producer-Seq" in answer.headers,
    )
