"""The GETs in flight at an origin, which equal requests join."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from gateway.cache.fetches.origin_exchange import UNUSABLE, AnswerRules, OriginExchange
from gateway.errors import OriginBroken
from gateway.later import Later
from gateway.stepped import Step
from gateway.telemetry import tracing
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.cache.fetches.fetch import SharedFetch
    from gateway.cache.fetches.fetch_result import FetchPart, FetchResult
    from gateway.cache.fetches.origin_exchange import Send
    from gateway.origin.answer import OriginAnswer
    from gateway.protocol.streams.reach import TailBound
    from gateway.telemetry.metrics import Histogram


class FetchTable:
    """The fetches of a route that are under way; equal requests find those that may be joined.

    `on_settled` is called as soon as it is known what becomes of an answer, before anybody has it;
    with the whole answer if it may be kept for others.
    """

    def __init__(
        self,
        rules: AnswerRules,
        on_settled: Callable[[SharedFetch, FetchResult | None], None],
        collapsed: Histogram,
    ) -> None:
        self._rules = rules
        self._on_settled = on_settled
        self._collapsed = collapsed
        self._joinable: dict[Hashable, SharedFetch] = {}
        self._of_path: dict[str, set[SharedFetch]] = {}
        self._under_way: set[OriginExchange] = set()
        self._idle: Later[None] | None = None  # somebody waits until none is under way

    def __contains__(self, key: Hashable) -> bool:
        """Return whether a fetch that can be joined is under way."""
        return key in self._joinable

    def joinable(self, key: Hashable) -> SharedFetch | None:
        """Return the fetch that an equal request may join, or None."""
        fetch = self._joinable.get(key)
        return None if fetch is None or fetch.is_abandoned else fetch

    def start(
        self, fetch: SharedFetch, send: Send, *, shared: bool, needs_no_waiter: bool = False
    ) -> None:
        """Start a fetch in its own step; if it is `shared`, equal requests can join it.

        One that `needs_no_waiter` goes on without readers until its head has come.
        """
        exchange = OriginExchange(fetch, send, self._rules, self._settled)
        try:
            if fetch.old is not None:
                fetch.old.is_validating = True
            if shared:
                self._joinable[fetch.key] = fetch
            path = fetch.request.read.path
            others = self._of_path.get(path)
            if others is None:
                self._of_path[path] = {fetch}
            else:
                others.add(fetch)
            fetch.exchange = exchange
            if needs_no_waiter:
                exchange.needs_no_waiter = True
            exchange.context = context = tracing.own_context()
            read: Callable[[], Any] = exchange.send
            step: Step[OriginAnswer] = Step(read, partial(self._answered, exchange), context)
            exchange.step = step
            self._under_way.add(exchange)
            step.run()
        except BaseException:
            fetch.exchange = None
            self._take_out(fetch)  # a reader that joined it would wait for ever
            raise

    def outdate(self, path: str, reach: TailBound | None) -> None:
        """Let no request join the fetches of a path that began before a write.

        Without a `reach`, another stream may be at the path.
        """
        for fetch in self._of_path.get(path, ()):
            fetch.outdate(reach)
            self._close(fetch)

    def outdate_all(self) -> None:
        """Let nobody join a fetch under way, because any path may have another stream now."""
        for path in tuple(self._of_path):
            self.outdate(path, None)

    def remove(self, fetch: SharedFetch, part: FetchPart) -> None:
        """Remove a request from a fetch, and count the fetch after the last one."""
        fetch.remove(part)
        if fetch.exchange is None and not fetch.parts:
            self._count(fetch)

    def _count(self, fetch: SharedFetch) -> None:
        if fetch.served_count:
            self._collapsed.observe(fetch.served_count)
            fetch.served_count = 0

    async def close(self) -> None:
        """End what is under way."""
        for exchange in tuple(self._under_way):
            if exchange.step is not None:
                exchange.step.cancel()
        if self._under_way:
            self._idle = self._idle or Later()
            await self._idle

    def _settled(self, fetch: SharedFetch, fetched: FetchResult | None) -> None:
        self._take_out(fetch)
        self._on_settled(fetch, fetched)

    def _answered(
        self, exchange: OriginExchange, answer: OriginAnswer | None, error: BaseException | None
    ) -> None:
        """Take the answer at once, or in a step of its own where that takes time."""
        try:
            if answer is not None:
                exchange.answer = answer
            is_taken = answer is None and error is None
            rest = None if is_taken else exchange.answered(answer, error)
        except (Exception, asyncio.CancelledError) as failure:  # noqa: BLE001 - nobody waits for ever
            self._carried_out(exchange, None, failure)
            return
        if rest is None:
            self._carried_out(exchange, None, None)
        else:
            exchange.step = Step(rest, partial(self._carried_out, exchange), exchange.context)
            exchange.step.run()

    def _carried_out(self, exchange: OriginExchange, _: None, error: BaseException | None) -> None:
        """Forget a fetch that is over, and fail its waiters if it raised."""
        fetch = exchange.fetch
        self._under_way.discard(exchange)
        exchange.step = None
        if exchange.answer is not None:
            exchange.answer.release()
        if exchange.ending is not None:
            exchange.ending.cancel()
        try:
            if fetch in self._of_path.get(fetch.request.read.path, ()):
                self._take_out(fetch)
            if error is not None:
                if not isinstance(error, asyncio.CancelledError):
                    log.error("origin.answer_lost", target=fetch.request.path, exc_info=error)
                fetch.fail(OriginBroken(UNUSABLE))
            if not fetch.parts:
                self._count(fetch)
        finally:
            fetch.exchange = None
            idle = self._idle
            if idle is not None and not self._under_way:
                self._idle = None
                idle.set_result(None)

    def _take_out(self, fetch: SharedFetch) -> None:
        """Let nobody join any more, nor make it old: it is over, or all but."""
        self._close(fetch)
        if fetch.old is not None:
            fetch.old.is_validating = False
        path = fetch.request.read.path
        others = self._of_path.get(path)
        if others is not None:
            others.discard(fetch)
            if not others:
                del self._of_path[path]

    def _close(self, fetch: SharedFetch) -> None:
        """Let nobody join any more."""
        if self._joinable.get(fetch.key) is fetch:
            del self._joinable[fetch.key]
