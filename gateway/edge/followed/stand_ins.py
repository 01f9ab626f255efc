"""What live readers were told of a stream, in place of an answer that its origin fails to give.

It is judged as if the origin had answered with it when it was last heard of the stream: by the
rules of what is kept, so that nobody is given more of it than of a kept answer, nor for longer.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from multidict import CIMultiDict

from gateway.cache.rules import policy
from gateway.cache.rules.lost_offsets import LostOffsets
from gateway.cache.rules.replica_lag import ReplicaLag
from gateway.edge.followed.snapshots import is_of_followed
from gateway.protocol import cache_headers
from gateway.protocol.http.header_names import CLOSED, NEXT_OFFSET, UP_TO_DATE

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.cache.rules.cached_response import CachedResponse, CacheRequest
    from gateway.cache.rules.response_rules import ResponseRules
    from gateway.protocol.origins.followed import Snapshot, Span


class LastHeard(NamedTuple):
    """Recent data of a stream as it is known, which is followed with a request.

    The origin has told `at` a time (epoch seconds) that the stream is so.
    """

    snapshot: Snapshot
    span: Span
    request: CacheRequest
    at: float


class StandIns:
    """Those of one route."""

    def __init__(self, rules: ResponseRules, clock: Callable[[], float]) -> None:
        # The origin has not sent what is judged, so nothing of it is counted.
        self._rules = msgspec.structs.replace(
            rules, repairs=Counter(), lag=ReplicaLag(), lost=LostOffsets()
        )
        self._clock = clock

    def of(self, heard: LastHeard, request: CacheRequest) -> CachedResponse | None:
        """The answer to a read that begins where the data do, if it may stand in now."""
        snapshot, span = heard.snapshot, heard.span
        said = snapshot.polls_say if snapshot.reads_say is None else snapshot.reads_say
        headers = CIMultiDict(
            [
                ("Content-Type", snapshot.content_type),
                (NEXT_OFFSET, span.end),
                (UP_TO_DATE, "true"),  # it was then: what is told of it now leaves that out
                *([(CLOSED, "true")] if snapshot.closed else []),
                *cache_headers.fields(said),
                *cache_headers.fields(snapshot.cors),
            ]
        )
        times = policy.Times(heard.at, heard.at)
        cached = self._rules.apply(request, 200, headers, times, span.body)
        if not (cached.keep and is_of_followed(cached, heard.request)):
            return None
        if not policy.serves_error(cached.stored, self._clock()):
            return None
        return cached.with_body(span.body)
