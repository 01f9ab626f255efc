"""Forward appends with remembered request fields and remembered patterns of answers.

A client sends the same fields with each append, and an origin answers each with the same head
except for an offset and a date. So the results of the rules in `web.handlers.passing_on` are
remembered. Computing them again would be most of the cost of forwarding an append.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.multi_append import offers
from gateway.origin.raw_way import RawWay
from gateway.protocol import http1
from gateway.protocol.http.forwarding import RequestSender
from gateway.protocol.http.header_names import FORKED_FROM, MULTI, NEXT_OFFSET
from gateway.protocol.http.paths import canonical_host
from gateway.protocol.requests import is_closing
from gateway.runtime.answer import RelayedResponse, RouteAnswer
from gateway.runtime.quotas import peer_of
from gateway.runtime.writes import Write
from gateway.web.handlers.forwarding import (
    ForwardedRequest,
    fields_to_client,
    fields_to_origin,
    relayed,
)
from gateway.web.requests.request_head import scheme

if TYPE_CHECKING:
    from collections.abc import Hashable

    from multidict import CIMultiDict, MultiMapping

    from gateway.edge.followed.doubts import Tails
    from gateway.edge.route import EdgeRoute
    from gateway.origin.whole_answer import WholeAnswer
    from gateway.protocol.origins.edge_target import EdgeRead
    from gateway.web.handlers.forwarding import ForwardingEffects
    from gateway.web.requests.request import Request

# Entries per route, of request fields and of answers: 4 MB each; a full table is cleared.
REMEMBERED = 2048
# Fields by which an answer names other URLs that a write has changed (RFC 9111 section 4.4).
_NAMING = frozenset({"location", "content-location"})
_TAIL = NEXT_OFFSET.lower()


class SentFields(NamedTuple):
    """The header fields to the origin, for appends with equal fields from one address."""

    headers: MultiMapping[str]  # as received; held, so that their id is not reused
    fields: CIMultiDict[str]
    block: bytes | None  # the fields as bytes, if they can be sent as they are


class Pattern(NamedTuple):
    """The remembered response and effects of answers to appends that differ only in values.

    `head` is a format for the values of the fields in `slots`.
    """

    head: str
    slots: tuple[str, ...]
    like: RelayedResponse
    cache: bytes
    closes: bool
    offers_multi: bool | None
    is_repeat: bool  # a duplicate append, whose answer may lack the tail

    def fill(self, answer: WholeAnswer) -> RouteAnswer:
        """Return the response for an answer of this pattern."""
        volatile = answer.volatile
        head = (self.head % tuple([volatile[name] for name in self.slots])).encode(
            "utf-8", "surrogateescape"
        )
        like, body = self.like, answer.body
        relayed = RelayedResponse(like.status, head, body, len(body), like.own_date, like.own_cors)
        return RouteAnswer(relayed, self.cache)


class AlikeAppends:
    """The remembered request fields and answers of appends to one route of an HTTP origin."""

    def __init__(self, route: EdgeRoute, passing: ForwardingEffects) -> None:
        self._route = route
        self._passing = passing
        self._sent: dict[tuple[int, str], SentFields] = {}
        self._patterns: dict[tuple[str | None, Hashable], Pattern | None] = {}

    def fields_for(self, request: Request, path: str) -> SentFields | None:
        """Return the fields to send an append with; None if the full rules are needed."""
        shared_fields, address = request.fields, peer_of(request.transport) or ""
        sent = self._sent.get((id(shared_fields.headers), address))
        sent = sent or self._rendered(request, path, address)
        own = request.own.fields
        if sent is None or not own:
            return sent
        fields, lines = sent.fields.copy(), ""
        fields.update(own)
        for name, value in own:
            lines += f"{name}: {value}\r\n"
        block = None if sent.block is None else sent.block + lines.encode()
        return SentFields(sent.headers, fields, block)

    def _rendered(self, request: Request, path: str, address: str) -> SentFields | None:
        route, headers = self._route, request.fields.headers
        if FORKED_FROM in headers or MULTI in headers:
            return None
        named = canonical_host(headers.get("Host", ""))
        sender = RequestSender(address, scheme(request), named)
        fields = fields_to_origin(
            route, route.requests.headers_for_origin("POST", path, headers), sender
        )
        sent = SentFields(headers, fields, RawWay.block(fields))
        if request.fields.are_known:
            if len(self._sent) >= REMEMBERED:
                self._sent.clear()
            self._sent[id(headers), address] = sent
        return sent

    def respond(
        self, request: Request, read: EdgeRead, tails: Tails, answer: WholeAnswer
    ) -> RouteAnswer | None:
        """Apply an answer's effects and return its response; None if the full rules are needed.

        The result is that of `ForwardingEffects.complete` for an accepted append.
        """
        # Age goes into the Cache-Status line, which is part of the pattern. It is nearly always 0.
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
            route.multi_append.is_known = pattern.offers_multi
        if tail is not None:
            route.feeds.doubts.note_answer(read.path, tails, tail)
        write = Write(
            prefix=route.prefix,
            path=read.path,
            only_grown=tail is not None,
            tail=tail,
            closed=pattern.closes or request.fields.closes,
        )
        self._passing.announce_write(route, write)
        return pattern.fill(answer)

    def _learn(
        self,
        key: tuple[str | None, Hashable],
        request: Request,
        read: EdgeRead,
        answer: WholeAnswer,
    ) -> Pattern | None:
        pattern = _pattern(ForwardedRequest("POST", request.headers, read, ""), self._route, answer)
        if answer.stable is not None:
            if len(self._patterns) >= REMEMBERED:
                self._patterns.clear()
            self._patterns[key] = pattern
        return pattern


def _pattern(passed: ForwardedRequest, route: EdgeRoute, answer: WholeAnswer) -> Pattern | None:
    """Return the pattern of an answer, by the rules for all forwarded requests.

    Return None if the result depends on more than the key of the pattern.
    """
    status = answer.status
    if not (200 <= status < 400 and _NAMING.isdisjoint(answer.volatile)) or status == 304:
        return None
    answered = relayed(passed, answer, fields_to_client(passed, route, answer, {}))
    known, cache = answered
    assert isinstance(known, RelayedResponse), "as a request that is passed on is answered"
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
    """Return a text escaped for use in a format."""
    return text.replace("%", "%%")
