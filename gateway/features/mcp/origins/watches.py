"""The watches of an origin's streams: a client that waits for events is a reader of the feed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

from typing_extensions import override

from gateway.errors import ClientLimitReached, LimitReached, OriginBehind
from gateway.features.mcp.reading import StreamWatch
from gateway.live.contract import ReaderClient, Waiter
from gateway.protocol.requests import LongPoll
from gateway.protocol.streams.offsets import BEGINNING, TailBound

if TYPE_CHECKING:
    from collections.abc import Callable

    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.route import EdgeRoute
    from gateway.features.subscriptions.state.delivery_state import EventPosition
    from gateway.live.contract import PollAnswer
    from gateway.live.feed import Feed
    from gateway.rules.cached_response import CacheRequest
    from gateway.rules.followed import Snapshot, Span
    from gateway.runtime.limits import ServerLimits

# seconds until a stream is checked again that is not there, has ended, or is not followed because
# of max_feeds: as often as hosts are told to poll
CHECK_AGAIN_S = 5.0


class WatchedOrigin(Protocol):
    """The reads of a route to an origin, as far as watches need them."""

    edge: EdgeRoute
    limits: ServerLimits

    def request(self, name: str, offset: str) -> CacheRequest:
        """Return a read of nobody in particular."""

    def drop_tail(self, name: str, known: TailBound) -> None:
        """Drop the cached responses that reached an old tail of a stream."""

    async def tail(self, name: str) -> Snapshot | None:
        """Return a stream as it ends at the origin now; None if there is none."""


class OriginWatch(StreamWatch, Waiter):
    """A watch, which waits in the feed of its stream as a long-poll does.

    Its client holds a place among the live readers. While it waits, the feed has that place.
    """

    principal = None  # whoever has opened the stream of events judges it again itself
    client = ReaderClient(0, None, "MCP Events")

    def __init__(
        self, origin: WatchedOrigin, name: str, account: str, on_news: Callable[[], None]
    ) -> None:
        self._origin = origin
        self._name = name
        self._account = account
        self._on_news = on_news
        self._offset = ""  # where it waits
        self._seen: TailBound | None = None  # the tail that a check has shown, and no read yet
        self._feed: Feed[FollowedStream, Span] | None = None  # while it waits there
        self._timer: asyncio.TimerHandle | None = None

    @override
    async def wait_behind(self, at: EventPosition | None) -> None:
        if at is None or at.is_closed:
            self._check_again()
            return
        offset = at.position or BEGINNING
        if self._feed is not None and offset == self._offset:
            return
        self._leave()
        request = self._origin.request(self._name, offset)
        try:
            with self._origin.edge.feeds.writes.reading(request.path):
                await self._join(request, offset)
        except (ClientLimitReached, LimitReached):
            self._check_again()

    async def _join(self, request: CacheRequest, offset: str) -> None:
        """Wait in the feed of the stream, or call back if that has more already."""
        feeds = self._origin.edge.feeds
        stream = feeds.read_by(request)
        if stream is None or not stream.may_wait(offset):
            known = await self._origin.tail(self._name)
            if known is None or known.closed or known.tail > offset:
                self._call_for(None if known is None else TailBound(known.tail, known.closed))
                return
            if known.tail < offset:
                raise OriginBehind("the origin tells of a stream that ends earlier", known.tail)
            stream = feeds.follow(request, known, self._account)
        self._feed = feed = feeds.join(stream, request, has_slot=True)
        self._offset = offset
        read = LongPoll(request.path, request.target, offset, None, others=request.read.others)
        feed.long_polls.park(self, read, offset)

    def _call_for(self, seen: TailBound | None) -> None:
        """Call back because the stream has more than reads have shown, or is gone."""
        if seen is None or seen == self._seen:  # a replica lags, or cuts its answers
            self._check_again()
            return
        self._seen = seen
        self._origin.drop_tail(self._name, seen)
        self._on_news()

    def _check_again(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(CHECK_AGAIN_S, self._check)

    def _check(self) -> None:
        self._timer = None
        self._on_news()

    @override
    def answer(self, answer: PollAnswer) -> None:
        """Call back: what has come is read as the events of a page."""
        self._take_place()
        self._on_news()

    @override
    def abandon(self) -> None:
        self._take_place()
        self._on_news()

    def _take_place(self) -> None:
        """Take the place among the live readers back, which the feed releases now."""
        self._feed = None
        self._origin.limits.count_reader()

    def _leave(self) -> None:
        feed = self._feed
        if feed is not None:
            self._take_place()
            feed.remove(self)

    @override
    def stop(self) -> None:
        self._leave()
        if self._timer is not None:
            self._timer.cancel()
