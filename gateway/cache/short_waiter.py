"""Who waits for an answer of the origin without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.cache.cache_result import CacheResult, Joined
    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.short_fetch import ShortFetch
    from gateway.cache.variants import Variant


class ShortWaiter(Protocol):
    """One who waits for a fetch without a task; he is called once.

    He has asked for this `request`, and may have `old`; he has joined a fetch, or it is his. The
    origin is asked in his name with these `fields`, as its client has rendered them.
    """

    request: CacheRequest
    fields: bytes
    old: Variant | None
    varies: frozenset[str]
    is_collapsed: bool
    fetch: ShortFetch[ShortWaiter] | None

    def given(self, result: CacheResult) -> None:
        """The answer is whole."""

    def goes_on(self, joined: Joined | None) -> None:
        """No answer is whole, or it failed, or is not for him: a task goes on with his part."""

    def abandon(self) -> None:
        """There is no answer, though there should be."""
