"""Streams of which an origin has other data for each reader, so that no feed may be shared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.rules.hit_for_pass import HitForPass

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.edge.reads.cache_result import CacheResult
    from gateway.edge.rules.cached_response import CacheRequest


class ApartStreams:
    """The streams of one route of which the origin has lately had data for one reader alone."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._hits_for_pass = HitForPass(clock)

    def add(self, key: Hashable) -> None:
        """Note that the origin has data for one reader alone."""
        self._hits_for_pass.add(key)

    def keyed(self, request: CacheRequest) -> CacheRequest:
        """Return a reader's request, under its own key if the origin has other data for each."""
        if request.admitted_as and request.stream_key in self._hits_for_pass:
            return request.apart()
        return request

    def keyed_after(self, request: CacheRequest, result: CacheResult) -> CacheRequest:
        """Return the request, under its own key if the response was for its reader alone."""
        if not request.admitted_as or result.cached.facts is None or not result.cached.is_ones_own:
            return request
        self._hits_for_pass.add(request.stream_key)
        return request.apart()
