"""Appends that are passed on: what those with equal fields go out with, and how they are answered.

A client sends the same fields with each append, and an origin answers each with the same head but
for an offset and a date. So what was made of the first ones is remembered, by the rules in
`web.handlers.passing_on`. To work it out anew would be most of what passing an append on costs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.multi_append import offers
from gateway.origin.raw_way import RawWay
from gateway.protocol import http1
from gateway.protocol.http.forwarding import SCHEME, RequestSender
from gateway.protocol.http.header_names import FORKED_FROM, MULTI, NEXT_OFFSET
from gateway.protocol.http.paths import canonical_host
from gateway.protocol.requests import is_closing
from gateway.runtime.answer import Relayed, RouteAnswer
from gateway.runtime.quotas import peer_of
from gateway.runtime.writes import Write
from gateway.web.handlers.passing_on import PassedOn, passed_back, passed_on, relayed
from gateway.web.requests.request import with_own
from gateway.web.requests.request_head import scheme_of

if TYPE_CHECKING:
    from collections.abc import Hashable

    from multidict import CIMultiDict, MultiMapping

    from gateway.edge.followed.doubts import Tails
    from gateway.edge.route import EdgeRoute
    from gateway.origin.whole_answer import WholeAnswer
    from gateway.protocol.origins.edge_target import EdgeRead
    from gateway.web.handlers.passing_on import PassingOn
    from gateway.web.requests.request import Request

# Of each route, requests by their fields, and answers by theirs: 4 MB each; then all are forgotten.
REMEMBERED = 2048
# By these an answer names what else a write has changed.
_NAMING = frozenset({"location", "content-location"})
_TAIL = NEXT_OFFSET.lower()


class SentFields(NamedTuple):
    """Header fields that appends with equal fields, by clients at one address, go out with."""

    headers: MultiMapping[str]  # as they came; while they are held, nothing else has their id
    fields: CIMultiDict[str]
    block: bytes | None  # the same as bytes, where those can be sent as they are


class Pattern(NamedTuple):
    """A memo of how equal answers to appends are told to clients, and of what they change.

    `head` is a format for the values of the fields that `slots` name.
    """

    head: str
    slots: tuple[str, ...]
    like: Relayed
    cache: bytes
    closes: bool
    offers_multi: bool | None
    is_repeat: bool  # it may lack where the stream ends

    def fill(self, answer: WholeAnswer) -> RouteAnswer:
        """Return what an answer of this pattern is told as."""
        volatile = answer.volatile
        head = (self.head % tuple([volatile[name] for name in self.slots])).encode(
            "utf-8", "surrogateescape"
        )
        like, body = self.like, answer.body
        told = Relayed(like.status, head, body, len(body), like.own_date, like.own_cors)
        return RouteAnswer(told, self.cache)


class AlikeAppends:
    """The appends of one route to an HTTP origin."""

    def __init__(self, route: EdgeRoute, passing: PassingOn) -> None:
        self._route = route
        self._passing = passing
        self._sent: dict[tuple[int, str], SentFields] = {}
        self._patterns: dict[tuple[str | None, Hashable], Pattern | None] = {}

    def sent(self, request: Request, path: str) -> SentFields | None:
        """Return what an append goes out with; None where it takes a closer look."""
        asked, address = request.fields, peer_of(request.transport) or ""
        sent = self._sent.get((id(asked.headers), address))
        sent = sent or self._rendered(request, path, address)
        if sent is None or (request.own.id is None and request.seq is None):
            return sent
        fields, block = with_own(sent.fields, request.own, request.seq), None
        if sent.block is not None and request.seq is None and request.own.id is not None:
            block = sent.block + b"X-Request-Id: %b\r\n" % request.own.id.encode()
        return SentFields(sent.headers, fields, block or RawWay.block(fields))

    def _rendered(self, request: Request, path: str, address: str) -> SentFields | None:
        route, headers = self._route, request.fields.headers
        if FORKED_FROM in headers or MULTI in headers:
            return None
        named = canonical_host(headers.get("Host", ""))
        sender = RequestSender(address, scheme_of(headers, SCHEME), named)
        fields = passed_on(route, route.requests.headers_for_origin("POST", path, headers), sender)
        sent = SentFields(headers, fields, RawWay.block(fields))
        if request.fields.are_known:
            if len(self._sent) >= REMEMBERED:
                self._sent.clear()
            self._sent[id(headers), address] = sent
        return sent

    def answered(
        self, request: Request, read: EdgeRead, tails: Tails, answer: WholeAnswer
    ) -> RouteAnswer | None:
        """Return what an answer is told as, once all has followed from it; None for a closer look.

        The same as `PassingOn.completed` makes of an accepted append.
        """
        # Its age is told in another place, and is nearly always 0.
        key = (answer.volatile.get("age"), answer.stable)
        if key in self._patterns:
            pattern = self._patterns[key]
        else:
            pattern = self._learn(key, request, read, answer)
        tail = answer.volatile.get(_TAIL)
        if pattern is None or (pattern.is_repeat and not tail):
            return None
        route = self._route
        if pattern.offers_multi is not None:
            route.multi_append.stands = pattern.offers_multi
        if tail is not None:
            route.feeds.doubts.answered(read.path, tails, tail)
        write = Write(
            prefix=route.prefix,
            path=read.path,
            only_grown=tail is not None,
            tail=tail,
            closed=pattern.closes or request.fields.closes,
        )
        self._passing.wrote(route, write)
        return pattern.fill(answer)

    def _learn(
        self,
        key: tuple[str | None, Hashable],
        request: Request,
        read: EdgeRead,
        answer: WholeAnswer,
    ) -> Pattern | None:
        pattern = _pattern(PassedOn("POST", request.headers, read, ""), self._route, answer)
        if answer.stable is not None:
            if len(self._patterns) >= REMEMBERED:
                self._patterns.clear()
            self._patterns[key] = pattern
        return pattern


def _pattern(passed: PassedOn, route: EdgeRoute, answer: WholeAnswer) -> Pattern | None:
    """Return the pattern of an answer, by the rules of all that is passed on.

    None where they depend on more than is looked up.
    """
    status = answer.status
    if not (200 <= status < 400 and _NAMING.isdisjoint(answer.volatile)) or status == 304:
        return None
    answered = relayed(passed, answer, passed_back(passed, route, answer, {}))
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
    return Pattern(
        head="\r\n".join([*head, ""]),
        slots=tuple(slots),
        like=known._replace(head=b"", body=b""),
        cache=cache,
        closes=is_closing(answer.headers),
        offers_multi=offers(answer.headers) if status < 300 else None,
        is_repeat=status == 204 and "Producer-Seq" in answer.headers,
    )


def _escaped(text: str) -> str:
    """Return a text as it stands in a format."""
    return text.replace("%", "%%")
