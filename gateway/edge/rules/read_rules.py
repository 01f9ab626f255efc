"""The rules by which an origin's response to a read is repaired, kept from caches, or refused."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - the type of a field
from typing import NamedTuple

import msgspec
from multidict import CIMultiDict

from gateway.edge.rules.cached_response import CacheRequest
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM, LostOffsets, ReplicaLag
from gateway.edge.rules.served_lifetimes import shorten
from gateway.errors import OriginBehind, StreamGone
from gateway.protocol import cache_headers
from gateway.protocol.cache_headers import Freshness
from gateway.protocol.http.header_names import CURSOR, UP_TO_DATE
from gateway.protocol.origins.repair import (
    LIFETIMES,
    StreamRead,
    check_end,
    is_brief,
    is_only_no_store,
    repaired_tag,
)
from gateway.protocol.streams.offsets import NOW, current_cursor


class RouteState(msgspec.Struct, kw_only=True):
    """The settings and the observations of a route that rules depend on."""

    freshness: Freshness  # the lifetimes that responses get
    ignore_no_store: bool  # True if a no-store of the origin is ignored
    # The reads in which the stream ended before the offset.
    lag: ReplicaLag = msgspec.field(default_factory=ReplicaLag)
    # The offsets of streams that are gone.
    lost: LostOffsets = msgspec.field(default_factory=LostOffsets)


class ReadResponse(msgspec.Struct):
    """An origin's response to a read of a stream, which the rules change one after the other."""

    route: RouteState
    request: CacheRequest
    facts: StreamRead
    fields: CIMultiDict[str]
    answered: float  # epoch seconds
    origin_directives: list[tuple[str, str]] = msgspec.field(
        default_factory=list
    )  # a lifetime that was capped
    is_ours: bool = False  # the lifetime is the route's: the origin has sent none


class ReadRule(NamedTuple):
    """A rule: `apply` changes the fields of a response, and returns whether it did.

    It raises a HeadgateError to refuse the response. A change is counted as the `repair` of this
    name in the metrics and on the console; a rule that only refuses has none.

    The result for one response is reused for responses that differ only in volatile fields, such
    as the offset (`judged_heads`): so a rule may depend on the other fields only.
    """

    repair: str
    apply: Callable[[ReadResponse], bool]


def _check_place(response: ReadResponse) -> bool:
    """Raise OriginBehind for a response that ends before the requested offset.

    Raises StreamGone when that persists, or the offset is of a lost stream.
    """
    route, request, ends = response.route, response.request, response.facts.next_offset
    if route.lost and route.lost.refuses(request.stream_key, request.start, response.answered):
        raise StreamGone(ANOTHER_STREAM)
    try:
        if request.read.is_clear:
            check_end(request.read.offset, ends)
    except OriginBehind as behind:
        if route.lag.saw(request.path, request.start, response.answered):
            raise StreamGone(ANOTHER_STREAM) from behind
        raise
    route.lag.reached(request.path, request.start)
    if route.lost:
        route.lost.note(request.stream_key, ends)
    return False


# By the field alone a surrogate may store a response that others must not.
_GIVEN = tuple(name for name in LIFETIMES if name != "Surrogate-Control")


def _is_for_one(response: ReadResponse) -> bool:
    """Return whether the response was given to one client: it is never made public."""
    return response.request.identified or "Set-Cookie" in response.fields


def _ignore_no_store(response: ReadResponse) -> bool:
    """Drop a no-store of the origin on a route that ignores it."""
    fields = response.fields
    if (
        not response.route.ignore_no_store
        or response.request.read.offset == NOW
        or _is_for_one(response)
        or not is_only_no_store(fields)
    ):
        return False
    for name in (*LIFETIMES, "Pragma"):
        fields.popall(name, None)
    return True


def _give_lifetime(response: ReadResponse) -> bool:
    """Give a response without a lifetime the route's own."""
    fields = response.fields
    if any(name in fields for name in _GIVEN):
        return False
    if is_brief(response.request.read, response.facts):
        fields.popall("Surrogate-Control", None)
    fields.extend(_lifetime(response))
    response.is_ours = True
    return True


def _lifetime(response: ReadResponse) -> list[tuple[str, str]]:
    read, facts = response.request.read, response.facts
    freshness = response.route.freshness
    if _is_for_one(response):
        return cache_headers.fields(cache_headers.PRIVATE)
    if read.offset == NOW:
        return cache_headers.fields(cache_headers.NO_STORE)
    remaining = response.request.lifetime.remaining(response.answered)
    if is_brief(read, facts):
        freshness = freshness.at_end(closed=facts.closed)
        return cache_headers.fields(cache_headers.tail_lifetime(freshness, remaining))
    return cache_headers.fields(cache_headers.chunk_lifetime(freshness, remaining))


def _shorten(response: ReadResponse) -> bool:
    """Cap the lifetime of what is soon old.

    What the origin says of the stream's tail gets one spelling, so that a cached response can leave
    it out.
    """
    fields, facts = response.fields, response.facts
    fields.popall(UP_TO_DATE, None)
    if facts.up_to_date:
        fields[UP_TO_DATE] = "true"
    if not response.is_ours and is_brief(response.request.read, facts):
        freshness = response.route.freshness.at_end(closed=facts.closed)
        response.origin_directives = shorten(fields, freshness)
    return bool(response.origin_directives)


def _repair_tag(response: ReadResponse) -> bool:
    """Repair a malformed tag; return True also if it is missing, and is added to the whole body."""
    fields = response.fields
    if response.request.read.offset == NOW:
        return False
    received = fields.get("ETag")
    if received is None:
        return True
    tag = repaired_tag(received, response.facts)
    if "Content-Encoding" in fields and not tag.startswith("W/"):
        tag = f"W/{tag}"  # the bytes differ from those of the same range in another coding
    if tag == received:
        return False
    fields["ETag"] = tag
    return True


def _set_cursor(response: ReadResponse) -> bool:
    """Replace the cursor by ours, which is equal for all readers; return True if there was none."""
    lacks = CURSOR not in response.fields and not response.facts.closed
    response.fields.popall(CURSOR, None)
    if not response.facts.closed:
        response.fields[CURSOR] = str(current_cursor(response.answered))
    return lacks


PLACE = ReadRule("", _check_place)
IGNORED_NO_STORE = ReadRule("no_store", _ignore_no_store)
OWN_LIFETIME = ReadRule("cache_control", _give_lifetime)
TAG = ReadRule("etag", _repair_tag)
OUR_CURSOR = ReadRule("cursor", _set_cursor)
# CORS fields are added whenever a response without any is sent.
CORS = ReadRule("cors", lambda response: "Access-Control-Allow-Origin" not in response.fields)
SHORT_TAIL = ReadRule("tail", _shorten)
# In the order in which they are applied: each sees what those before it have left.
RULES = (PLACE, IGNORED_NO_STORE, OWN_LIFETIME, TAG, OUR_CURSOR, CORS, SHORT_TAIL)


def repairs() -> tuple[str, ...]:
    """Return the names under which the changes of rules are counted."""
    return tuple(sorted(rule.repair for rule in RULES if rule.repair))
