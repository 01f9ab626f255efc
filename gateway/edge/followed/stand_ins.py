"""Responses made of recent live data, in place of those that a failing origin does not send.

The cache's rules judge the data as if the origin had responded with them when it last confirmed the
stream. So they are served to no more clients, and for no longer, than a cached response would be.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from multidict import CIMultiDict

from gateway.edge.followed.snapshots import is_of_followed
from gateway.edge.rules import policy
from gateway.edge.rules.lost_offsets import LostOffsets, ReplicaLag
from gateway.protocol import cache_headers
from gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET, UP_TO_DATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.edge.rules.response_rules import ResponseRules
    from gateway.protocol.origins.followed import Snapshot, Span


class RecentData(NamedTuple):
    """Recent data of a stream that is followed with `request`.

    The origin has confirmed the snapshot last at `confirmed_at` (epoch seconds).
    """

    snapshot: Snapshot
    span: Span
    request: CacheRequest
    confirmed_at: float


class StandIns:
    """The stand-in responses of one route, made by its rules for cached responses."""

    def __init__(self, rules: ResponseRules, clock: Callable[[], float]) -> None:
        # The origin has not sent these responses, so the route's own rules do not count them.
        self._rules = msgspec.structs.replace(
            rules, repairs=Counter(), lag=ReplicaLag(), lost=LostOffsets()
        )
        self._clock = clock

    def of(self, recent: RecentData, request: CacheRequest) -> CachedResponse | None:
        """Return a response to a read from the data's start; None if it may not stand in now."""
        snapshot, span = recent.snapshot, recent.span
        directives = (
            snapshot.poll_directives
            if snapshot.read_directives is None
            else snapshot.read_directives
        )
        headers = CIMultiDict(
            [
                ("Content-Type", snapshot.content_type),
                (NEXT_OFFSET, span.end),
                (UP_TO_DATE, "true"),  # it was then: a response that stands in leaves it out
                *([(CLOSED, "true")] if snapshot.closed else []),
                *cache_headers.fields(directives),
                *cache_headers.fields(snapshot.cors),
            ]
        )
        times = policy.Times(recent.confirmed_at, recent.confirmed_at)
        cached = self._rules.apply(request, 200, headers, times, span.body)
        if not (cached.is_storable and is_of_followed(cached, recent.request)):
            return None
        if not policy.serves_error(cached.stored, self._clock()):
            return None
        return cached.with_body(span.body)
