"""Answers of the origin for those who wait for them without a task."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.cache import http_cache
from gateway.cache.cache_result import Joined
from gateway.cache.decision import Fetch, Validate, decide
from gateway.cache.judged_heads import JudgedHeads
from gateway.cache.short_fetch import ShortFetch
from gateway.cache.variants import key_of, varies_of
from gateway.errors import HeadgateError
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable
    from typing import TypeAlias

    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.decision import Followed
    from gateway.cache.fetch import Answer, SharedFetch
    from gateway.cache.http_cache import HttpCache
    from gateway.cache.short_waiter import ShortWaiter
    from gateway.cache.variants import Variant
    from gateway.origin.whole_answer import Asked, Asker

    Conditions: TypeAlias = list[tuple[str, str]]
    Ask: TypeAlias = Callable[[CacheRequest, bytes | None, Conditions, Asker], Asked | None]

_ASKS = (Fetch, Validate)


class ShortAnswers:
    """The part of a cache that carries requests out without a task: a Carrier.

    `ask` sends a request, with these fields or its own, under these conditions, if it can without a
    task.
    """

    def __init__(
        self,
        cache: HttpCache,
        clock: Callable[[], float],
        ask: Ask,
    ) -> None:
        self.clock = clock
        self.heads = JudgedHeads(cache.rules)
        self._cache = cache
        self._ask = ask

    def fetch(self, waiter: ShortWaiter, stream: Followed | None) -> bool:
        """Have a waiter called, where HttpCache would ask the origin, or join one that has.

        False where a task has to answer.
        """
        cache, request = self._cache, waiter.request
        variants, is_hit_for_pass = cache.variants(request), cache.is_hit_for_pass(request)
        use = decide(
            "GET",
            request,
            variants,
            stream,
            self.clock(),
            is_hit_for_pass=is_hit_for_pass,
            is_down=cache.is_down(),
        )
        if not isinstance(use, _ASKS):
            return False
        waiter.varies = varies = varies_of(variants)
        key = key_of(request, varies) if varies else request.fetch_key
        old = waiter.old = use.variant if isinstance(use, Validate) else None
        # A request that is known not to be joined may still join another that is.
        under_way = cache.fetches.joinable(key)
        if under_way is not None:
            return self._join(under_way, waiter)
        fetch = self._begin(key, request, waiter.fields, old, shared=not is_hit_for_pass)
        if fetch is None:
            return False
        waiter.fetch = fetch
        fetch.waiters.append(waiter)
        return True

    def refresh(self, key: Hashable, request: CacheRequest, old: Variant) -> bool:
        """Have `old` renewed, as HttpCache does for one who was given it; False as of `fetch`."""
        fetch = self._begin(key, request, None, old, shared=True)
        if fetch is None:
            return False
        fetch.is_wanted = True
        return True

    def _begin(
        self,
        key: Hashable,
        request: CacheRequest,
        fields: bytes | None,
        old: Variant | None,
        *,
        shared: bool,
    ) -> ShortFetch[ShortWaiter] | None:
        cache, longest = self._cache, http_cache.LONGEST_KEPT
        fetch: ShortFetch[ShortWaiter] = ShortFetch(key, request, old, self, longest)
        try:
            conditions = [] if old is None else old.cached.validators
            fetch.asked = self._ask(request, fields, conditions, fetch)
        except HeadgateError as error:
            # As any answer, it comes when he waits for it.
            asyncio.get_running_loop().call_soon(fetch.failed, error)
        else:
            if fetch.asked is None:
                return None
        cache.fetched += 1
        cache.fetches.begin(fetch, shared=shared)
        return fetch

    def _join(self, fetch: SharedFetch, waiter: ShortWaiter) -> bool:
        if not isinstance(fetch, ShortFetch) or fetch.asked is None:
            return False  # its answer has begun, and is read in a task
        self._cache.collapsed += 1
        waiter.fetch, waiter.is_collapsed = fetch, True
        fetch.waiters.append(waiter)
        return True

    def go_on(self, fetch: ShortFetch[ShortWaiter], answer: Answer) -> None:
        """Have a task carry out what has begun without one."""
        first: list[Answer] = [answer]

        async def send(validators: list[tuple[str, str]]) -> Answer:
            return first.pop() if first else await self._cache.send(fetch.request, validators)

        def give_back(_: asyncio.Task[None]) -> None:
            for unread in first:
                unread.release()

        self._cache.fetches.carry_out(fetch, send).add_done_callback(give_back)

    def tell(self, fetch: ShortFetch[ShortWaiter]) -> None:
        """Let those who wait have the answer, or their part in the fetch."""
        waiters, fetch.waiters = fetch.waiters, []
        for waiter in waiters:
            try:
                self._tell_one(waiter, fetch)
            except Exception:  # noqa: BLE001 - the others wait, too
                log.exception("read.failed", target=fetch.request.path)
                waiter.abandon()
        if fetch.fetched.done():
            self._cache.fetches.over(fetch)

    def _tell_one(self, waiter: ShortWaiter, fetch: ShortFetch[ShortWaiter]) -> None:
        cache, told = self._cache, fetch.told
        if waiter.is_collapsed and not fetch.shared:
            waiter.goes_on(None)
            return
        if told is None or (
            waiter.is_collapsed and not cache.is_for(fetch, waiter.request, told.cached)
        ):
            joins = waiter.old, waiter.varies, waiter.is_collapsed
            waiter.goes_on(Joined(fetch, fetch.reader(), *joins))
            return
        fetch.given += 1
        waiter.given(cache.result(fetch, waiter.old, told, is_collapsed=waiter.is_collapsed))
