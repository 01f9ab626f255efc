"""The result of a route's cache for a request."""

from __future__ import annotations

import msgspec

from gateway.edge.reads.order import BEFORE_ALL
from gateway.edge.reads.shared_response import FetchReader
from gateway.edge.rules.cached_response import CachedResponse
from gateway.protocol.http import cache_status
from gateway.protocol.http.cache_status import CacheUse


class CacheResult(msgspec.Struct, frozen=True):
    """The response to a request, whether the origin just sent it, and what to say of it.

    `source` has the body while it is not whole yet, for as long as the client reads it.
    `tail_is_known` if it may say that it reached the stream's tail. `number` is the
    number of the fetch that brought it.
    """

    cached: CachedResponse
    cache: CacheUse
    current: bool
    tail_is_known: bool
    source: FetchReader | None = None
    number: int = BEFORE_ALL


def told_before(cached: CachedResponse, now: float) -> CacheResult:
    """Return the data that live readers were sent, for a client while the origin fails."""
    stored = cached.stored
    status = f"hit; ttl={int(stored.fresh_until - now)}; detail=stale-if-error"
    use = cache_status.cache_use("STALE", status, age=stored.age(now))
    return CacheResult(cached, use, current=False, tail_is_known=False)
