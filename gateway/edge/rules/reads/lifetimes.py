"""Give responses to reads a lifetime: the route's if the origin gives none, short at the tail."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.rules import tails
from gateway.edge.rules.reads.rule import ReadRule
from gateway.protocol import cache_headers
from gateway.protocol.http.header_names import UP_TO_DATE
from gateway.protocol.origins.repair import LIFETIMES, is_brief, is_only_no_store
from gateway.protocol.streams.offsets import NOW

if TYPE_CHECKING:
    from gateway.edge.rules.reads.rule import ReadResponse

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
        response.origin_directives = tails.shorten(fields, freshness)
    return bool(response.origin_directives)


IGNORED_NO_STORE = ReadRule("no_store", _ignore_no_store)
OWN_LIFETIME = ReadRule("cache_control", _give_lifetime)
SHORT_TAIL = ReadRule("tail", _shorten)
