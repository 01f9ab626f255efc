"""Rules by which responses of a route's origin become Headgate's own."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec
from multidict import CIMultiDict

from headgate_gateway.protocol import http1
from headgate_gateway.protocol.cache_headers import retag
from headgate_gateway.protocol.http import cache_status
from headgate_gateway.protocol.http.forwarding import relocate, response_fields
from headgate_gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET, UP_TO_DATE
from headgate_gateway.protocol.http.paths import is_list
from headgate_gateway.protocol.responses import NO_FACTS, Facts
from headgate_gateway.protocol.streams.offsets import NOW
from headgate_gateway.rules import policy, read_rules, repair
from headgate_gateway.rules.cached_response import CachedResponse, tail_lines
from headgate_gateway.rules.directives import (
    again_s,
    age_of,
    governing,
    members,
    normalised,
)
from headgate_gateway.rules.plain_directives import write_plainly
from headgate_gateway.rules.read_rules import ReadResponse, RouteState
from headgate_gateway.rules.served_lifetimes import caching_lines, served

if TYPE_CHECKING:
    from collections.abc import Callable

    from multidict import MultiMapping

    from headgate_gateway.protocol.http.forwarding import IdentityHeaders
    from headgate_gateway.rules.cached_response import CacheRequest
    from headgate_gateway.rules.policy import ResponseMetadata, Times
    from headgate_gateway.rules.repair import StreamRead
    from headgate_gateway.rules.served_lifetimes import ServedFields


class ResponseRules(RouteState, kw_only=True):
    """The rules for an origin's responses to GET. `repairs` counts the repaired responses.

    `reports_tails` is True once the origin has sent Stream-Up-To-Date. Until then any response may
    have reached the tail, and is dropped when the tail moves.
    """

    stale_if_error: int  # seconds, for responses without that directive
    via: str
    identity: IdentityHeaders
    located: Callable[[str], str | None]  # the path here of a URL at the origin
    repairs: Counter[str] = msgspec.field(default_factory=Counter)
    reports_tails: bool = False

    def apply(
        self,
        request: CacheRequest,
        status: int,
        headers: MultiMapping[str],
        times: Times,
        body_prefix: bytes,
    ) -> tuple[CachedResponse, ServedFields]:
        """Apply the rules to a response without its body; `body_prefix` is the body's beginning.

        Return the response as it is cached, and the fields that its lines are made of. Raises a
        HeadgateError to refuse the response.
        """
        facts = repair.stream_read(status, headers, body_prefix)
        if facts is not None and facts.up_to_date:
            self.reports_tails = True
        fields = self._fields(headers)
        if facts is not None and request.read.is_clear:
            facts = repair.at_same_offset(request.start, facts)
            fields[NEXT_OFFSET] = facts.next_offset
        cached, fields_served = self._cached(request, status, fields, facts, times)
        length = http1.content_length(headers.get("Content-Length"))
        validators = policy.validators(headers)
        return msgspec.structs.replace(cached, validators=validators, length=length), fields_served

    def _fields(self, headers: MultiMapping[str]) -> CIMultiDict[str]:
        """Return a response's fields for clients, with URLs of this gateway."""
        fields = response_fields(headers, self.via)
        relocate(fields, self.located)
        write_plainly(fields)
        return fields

    def confirms(self, cached: CachedResponse, headers: MultiMapping[str]) -> bool:
        """Return whether a 304 confirms a cached response."""
        facts = cached.facts
        ends = None if facts is None else headers.get(NEXT_OFFSET, facts.next_offset)
        same_range = facts is None or ends == facts.next_offset
        return same_range and policy.confirms(cached.validators, headers)

    def confirmed(
        self,
        request: CacheRequest,
        cached: CachedResponse,
        headers: MultiMapping[str],
        times: Times,
    ) -> CachedResponse:
        """Return a cached response that the origin has just confirmed."""
        known = cached.fields()
        if cached.is_ours or cached.origin_directives:
            for name in repair.LIFETIMES:
                known.popall(name, None)
            known.extend(cached.origin_directives)
        fields = policy.updated(known, self._fields(headers))
        facts = None if cached.facts is None else _renewed(cached.facts, headers)
        new, _ = self._cached(request, cached.status, fields, facts, times)
        new = msgspec.structs.replace(new, body=cached.body, validators=cached.validators)
        # The 304 is for this client only, even if the response is for all.
        if "Set-Cookie" in headers:
            return msgspec.structs.replace(new, joinable=False, is_storable=False)
        return new

    def _cached(
        self,
        request: CacheRequest,
        status: int,
        fields: CIMultiDict[str],
        facts: StreamRead | None,
        times: Times,
    ) -> tuple[CachedResponse, ServedFields]:
        is_public = policy.is_public(fields)
        origin_directives, is_ours = self._ruled(request, status, fields, facts, times)
        stored = self._stored(request, status, fields, facts, times, origin_directives)
        age = age_of(fields)
        is_public = is_public and not is_ours
        from_now = request.read.offset == NOW
        is_personal = bool(request.admitted_as) and is_for_one_client(
            status, fields, self.identity, at_tail=from_now
        )
        # RFC 9111 allows more. But a response to an identified reader is for others only if the
        # origin says so, and one that sets a cookie never is: it may start a session.
        is_for_others = "Set-Cookie" not in fields and (is_public or not request.identified)
        is_shared = stored is not None and is_for_others and not is_personal
        lasts = stored is not None and max(stored.lifetime, stored.stale_while_revalidate) > 0
        # Each read of a stream with a countdown has to restart it.
        is_storable = is_shared and request.lifetime.ttl_s is None
        if stored is None:
            stored = policy.not_stored(request.headers, status, fields, times.answered - age)
        joins = is_storable or (not is_personal and may_be_joined(request, stored, fields, facts))
        if route_tag := self.freshness.route_tag:
            retag(fields, request.path, route_tag, is_tagged=is_shared and lasts)
        is_tail = facts is not None and (
            facts.reaches_open_tail or not (facts.closed or self.reports_tails)
        )
        lacks_tag = facts is not None and not from_now and "ETag" not in fields
        cached = CachedResponse(
            status=status,
            lines=b"",
            stored=_varied_by_coding(stored, fields, request),
            facts=facts,
            identity=self.identity,
            is_storable=is_storable,
            joinable=joins,
            is_for_one_client=is_personal,
            is_public=is_public,
            is_ours=is_ours,
            is_tail=is_tail,
            origin_directives=origin_directives,
            tagged_as=(request.path, request.start) if lacks_tag else None,
            said=_said(status, fields) if facts is None else NO_FACTS,
        )
        return _with_lines(cached, fields, at_tail=from_now)

    def _ruled(
        self,
        request: CacheRequest,
        status: int,
        fields: CIMultiDict[str],
        facts: StreamRead | None,
        times: Times,
    ) -> tuple[list[tuple[str, str]], bool]:
        """Change the fields by the rules; return the directives that were capped, if any.

        Return also whether the lifetime is the route's, because the origin sent none.
        """
        if facts is None:
            if is_list(request.path):
                repair.forbid_caching(fields)
            elif status >= 400:
                repair.forbid_caching_error(fields)
            return [], False
        response = ReadResponse(self, request, facts, fields, times.answered)
        self.repairs.update([it.repair for it in read_rules.RULES if it.apply(response)])
        return response.origin_directives, response.is_ours

    def _stored(
        self,
        request: CacheRequest,
        status: int,
        fields: CIMultiDict[str],
        facts: StreamRead | None,
        times: Times,
        origin_directives: list[tuple[str, str]],
    ) -> ResponseMetadata | None:
        """Return the metadata with which a response is stored, None if it must not be."""
        default_s = self.stale_if_error
        stored = policy.storable("GET", request.headers, status, fields, times, default_s)
        if stored is None:
            return None
        if facts is not None and facts.is_empty and facts.reaches_open_tail:
            # It only says that nothing follows, which is unknown while the origin fails.
            return msgspec.structs.replace(stored, stale_if_error=0)
        if origin_directives:  # a tail's lifetime is shorter, but not while the origin fails
            said = governing(CIMultiDict(origin_directives))
            _, if_error = policy.stale_allowance(said, stored.lifetime, default_s)
            return msgspec.structs.replace(stored, stale_if_error=if_error)
        return stored


def _with_lines(
    cached: CachedResponse, fields: CIMultiDict[str], *, at_tail: bool
) -> tuple[CachedResponse, ServedFields]:
    """Return a response with the lines of its fields and what they say, and the fields."""
    facts, cors, directives, tail = cached.facts, "", "", None
    for name in cache_status.OF_THE_ANSWER:
        fields.popall(name, None)  # set for each response anew
    if facts is not None:
        cors = repair.cors(fields)
        if not cached.is_ours:
            directives = _data_directives(fields, cached.origin_directives)
        if cached.is_tail and facts.up_to_date and UP_TO_DATE in fields:
            tail = tail_lines(fields.pop("ETag", None))
            del fields[UP_TO_DATE]
    marks, parts = repair.directive_lines(fields, at_tail=at_tail), served(fields)
    with_lines = msgspec.structs.replace(
        cached,
        lines=http1.field_lines(parts.rest),
        shared_lines=http1.field_lines(parts.shared),
        caching_lines=caching_lines(tuple(parts.caching)),
        tail_lines=tail,
        own_date="Date" not in fields,
        own_cors="Access-Control-Allow-Origin" not in fields,
        cors=cors,
        is_marked_private=repair.is_private(marks),
        data_directives=directives,
    )
    return with_lines, parts


def _data_directives(fields: CIMultiDict[str], origin_directives: list[tuple[str, str]]) -> str:
    """Return the origin's cache directives for a stream's data."""
    if origin_directives:  # the response to a reader has fewer of them
        varies = [("Vary", value) for value in fields.getall("Vary", ())]
        fields = CIMultiDict([*origin_directives, *varies])
    return repair.directive_lines(fields)


def _said(status: int, fields: CIMultiDict[str]) -> Facts:
    """Return the facts in a response that is not one to a read of a stream."""
    closed = repair.is_true(fields, CLOSED)
    is_end = closed and status == 204
    return Facts(fields.get(NEXT_OFFSET, ""), closed, is_end, again_s(fields))


def _renewed(facts: StreamRead, headers: MultiMapping[str]) -> StreamRead:
    """Return the facts of a stream after a 304, which may have nothing but the tag."""
    up_to_date = facts.up_to_date
    if NEXT_OFFSET in headers:
        up_to_date = repair.is_true(headers, UP_TO_DATE)
    closed = facts.closed or repair.is_true(headers, CLOSED)
    return msgspec.structs.replace(facts, up_to_date=up_to_date, closed=closed)


def _varied_by_coding(
    stored: ResponseMetadata, fields: CIMultiDict[str], request: CacheRequest
) -> ResponseMetadata:
    """Add Accept-Encoding to what a compressed response varies with, even without Vary."""
    coding = "accept-encoding"
    names = {name for name, _ in stored.vary}
    if "Content-Encoding" not in fields or coding in names or stored.vary == policy.OF_ONE_REQUEST:
        return stored
    vary = sorted([*stored.vary, (coding, normalised(coding, request.headers))])
    return msgspec.structs.replace(stored, vary=tuple(vary))


def may_be_joined(
    request: CacheRequest,
    stored: ResponseMetadata,
    fields: MultiMapping[str],
    facts: StreamRead | None,
) -> bool:
    """Return whether waiting requests may share a response that is not stored.

    Otherwise all waiting requests would be sent to an origin that fails or has no data yet. A
    response that sets a cookie is for one request, and so is a private one to an anonymous reader.
    """
    directives = governing(fields)
    if "Set-Cookie" in fields or stored.vary == policy.OF_ONE_REQUEST:
        return False
    if "private" in directives and not request.identified:
        return False  # the origin identifies its readers by a field unknown to us
    failed = stored.status >= 500 or stored.status in {404, 429}
    is_tail = request.read.offset == NOW and facts is not None
    return failed or is_tail or (request.identified and "no-store" not in directives)


def is_for_one_client(
    status: int, fields: MultiMapping[str], identity: IdentityHeaders, *, at_tail: bool = False
) -> bool:
    """Return whether a response is for its requester only, and not for all permitted readers.

    Refusals are, since they depend on the requester's rights, but failures are not. For data, the
    origin must say so. A no-store of the tail alone does not say it.
    """
    if status >= 500:
        return False
    if status >= 300 or "Set-Cookie" in fields:
        return True
    directives = governing(fields)
    if "private" in directives or ("no-store" in directives and not at_tail):
        return True
    return any(name == "*" or identity.has(name) for name in members(fields.getall("Vary", ())))
