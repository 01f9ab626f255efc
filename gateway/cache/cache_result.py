"""What the cache of a route gives a request, and the part that a request has in a fetch."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from gateway.cache.cached_response import CachedResponse
from gateway.cache.shared_body import SharedBodyReader
from gateway.protocol import cache_status

if TYPE_CHECKING:
    from gateway.cache.fetch import SharedFetch
    from gateway.cache.variants import Variant


class CacheResult(msgspec.Struct, frozen=True):
    """What a request gets: an answer, whether it is news of the origin, and what to say of it.

    `source` has the body when it is not whole yet, for as long as the asker holds it.
    `tail_is_known` where it may say that it reached the stream's tail, if it did.
    """

    cached: CachedResponse
    cache: bytes
    current: bool
    tail_is_known: bool
    source: SharedBodyReader | None = None


class Joined(NamedTuple):
    """The part that somebody has in a fetch: found by these fields, and joined, or begun by him."""

    fetch: SharedFetch
    reader: SharedBodyReader
    old: Variant | None
    varies: frozenset[str]
    is_collapsed: bool


def told_before(cached: CachedResponse, now: float) -> CacheResult:
    """Return the data that live readers were sent, for a client while the origin fails."""
    stored = cached.stored
    status = f"hit; ttl={int(stored.fresh_until - now)}; detail=stale-if-error"
    lines = cache_status.lines("STALE", status, age=stored.age(now))
    return CacheResult(cached, lines, current=False, tail_is_known=False)
