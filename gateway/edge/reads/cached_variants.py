"""The cached responses of a route, in the store that all routes share."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.reads.variants import Variant, Variants
from gateway.telemetry import traffic as counted

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

    from gateway.edge.reads.variants import HttpCacheLike
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.store import CacheEntry, Store
    from gateway.telemetry.traffic import Hits, Traffic


class CachedVariants:
    """The variants of each URL, found by request and by path."""

    def __init__(
        self,
        store: Store[CacheEntry],
        clock: Callable[[], float],
        home: HttpCacheLike,
        traffic: Traffic,
    ) -> None:
        self._store = store
        self._clock = clock
        self._home = home
        self._traffic = traffic

    def variants(self, request: CacheRequest) -> Sequence[Variant]:
        """Return the cached responses of a URL, the newest first."""
        entry = self._store.get(request.key, self._clock())
        return entry.variants if isinstance(entry, Variants) else ()

    def peek(self, request: CacheRequest) -> Sequence[Variant]:
        """Return the cached responses of a URL without marking the entry as used."""
        entry = self._store.peek(request.key, self._clock())
        return entry.variants if isinstance(entry, Variants) else ()

    def paths(self) -> Iterator[str]:
        """Yield the paths with cached responses; all routes share the store."""
        for group in self._store.groups():
            if isinstance(group, tuple) and group[0] == "path":
                yield group[1]

    def of_path(self, path: str) -> list[CachedResponse]:
        """Return the cached responses of a path."""
        entries = self._store.of_group(("path", path))
        return [
            one.cached for entry in entries if isinstance(entry, Variants) for one in entry.variants
        ]

    def reaches(self, path: str, offset: str) -> bool:
        """Return whether a cached response of a path ends at or behind an offset."""
        facts = (cached.facts for cached in self.of_path(path))
        return any(it and it.next_offset >= offset for it in facts)

    def put(self, request: CacheRequest, cached: CachedResponse) -> bool:
        """Store a response; return whether there was room."""
        key, store = request.key, self._store
        entry, hit_counter = store.get(key, self._clock()), self._hits(request, cached)
        if isinstance(entry, Variants):
            return store.put(entry.with_variant(cached, hit_counter))
        variants = (Variant(cached, hit_counter),)
        return store.put(
            Variants(key, request.read, variants, self._home, self._traffic.cache_share)
        )

    def _hits(self, request: CacheRequest, cached: CachedResponse) -> Hits:
        """Return the counts of the requests that the cached response will answer."""
        resume_kind, facts = counted.NOWHERE, cached.facts
        if facts is not None:
            is_end = facts.closed and facts.is_empty
            resume_kind = counted.TERMINAL if is_end else counted.resume_kind(request.read.offset)
        return self._traffic.hits(counted.READ, resume_kind, cached.status)

    def remove(self, key: Hashable, variant: Variant) -> None:
        """Remove a variant, unless its entry was replaced meanwhile."""
        if self._store.get(key, self._clock()) is variant.entry:
            self._store.put(variant.entry.without(variant))

    def discard(self, key: Hashable) -> None:
        """Drop the cached responses of a URL."""
        self._store.discard(key)

    def drop_path(self, path: str) -> None:
        """Drop every cached response of a path."""
        self._store.drop(("path", path))

    def drop_tail(self, path: str) -> None:
        """Drop the cached responses of a path that reached the stream's tail."""
        self._store.drop(("tail", path))
