"""The GETs in flight at an origin, which equal requests join."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.edge.reads.origin_exchange import NO_CONDITIONS, AnswerRules, OriginExchange
from gateway.errors import HeadgateError
from gateway.later import Later
from gateway.telemetry import tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from gateway.edge.reads.fetch import SharedFetch
    from gateway.edge.reads.fetch_result import FetchPart, FetchResult
    from gateway.edge.reads.origin_exchange import Send
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
        send: Send,
        on_settled: Callable[[SharedFetch, FetchResult | None], None],
        collapsed: Histogram,
    ) -> None:
        self.rules = rules
        self.send = send
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

    def start(self, fetch: SharedFetch, *, shared: bool, needs_no_waiter: bool = False) -> None:
        """Send the request of a fetch; if it is `shared`, equal requests can join it.

        One that `needs_no_waiter` goes on without readers until its head has come.
        """
        exchange = OriginExchange(fetch, self)
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
            self._under_way.add(exchange)
            exchange.context = context = tracing.own_context()
            conditions = NO_CONDITIONS if fetch.old is None else fetch.old.cached.validators
            try:
                if context is None:
                    exchange.ask(conditions)
                else:
                    context.run(exchange.ask, conditions)
            except HeadgateError as error:  # it cannot be sent: who waits for it gets the error
                exchange.on_failure(error)
        except BaseException:
            self._under_way.discard(exchange)
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
            exchange.cancel()
        if self._under_way:
            self._idle = self._idle or Later()
            await self._idle

    def settled(self, fetch: SharedFetch, fetched: FetchResult | None) -> None:
        """Note that it is known what becomes of an answer, before its readers get it."""
        self._take_out(fetch)
        self._on_settled(fetch, fetched)

    def carried_out(self, exchange: OriginExchange) -> None:
        """Forget a fetch that is over."""
        fetch = exchange.fetch
        self._under_way.discard(exchange)
        try:
            if fetch in self._of_path.get(fetch.request.read.path, ()):
                self._take_out(fetch)
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
