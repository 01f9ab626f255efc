"""Data events of an origin's streams, rendered once for all who are at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.cache.rendered import EVENT_CHUNK_BYTES, EventChunk
from gateway.cache.single_flight import SingleFlight
from gateway.cache.store import Store
from gateway.edge.snapshots import view_of
from gateway.live.contract import LONGEST_ROUND, Cut
from gateway.protocol import followed, repair, sse
from gateway.protocol.followed import Span
from gateway.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gateway.cache.http_cache import Given
    from gateway.edge.followed_stream import FollowedStream
    from gateway.protocol.followed import View
    from gateway.protocol.repair import StreamRead


def are_long(news: Sequence[Span]) -> bool:
    """Whether news are too many bytes to be dealt with at once."""
    return sum(len(span.body) for span in news) > LONGEST_ROUND


class Reading(Protocol):
    """What it takes to read on in a followed stream."""

    clock: Callable[[], float]
    forgotten: int  # times: what was asked for before the last one may be of the past

    async def more(self, watch: FollowedStream, start: str) -> tuple[Given, StreamRead]:
        """What the stream has after an offset. Raises StreamGone when another one is there."""

    def standing(self, key: Hashable, view: View, *, ends: bool) -> FollowedStream | None:
        """The followed stream, unless a read, which perhaps `ends`, shows that it is no more."""


class EdgeEvents:
    """What the SSE readers of a route's streams are given."""

    def __init__(self, feeds: Reading) -> None:
        self._feeds = feeds
        self._kept: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self._reads: SingleFlight[Cut] = SingleFlight()
        self._turns = Turns()

    def drop(self, path: str) -> None:
        """Keep nothing of what was read at a path."""
        self._kept.drop(path)

    def cut(self, watch: FollowedStream, start: str, news: Sequence[Span]) -> list[Cut] | None:
        """News as one data event; None when they are too long for one turn."""
        if not news:
            return []
        assert news[0].start == start, "a follower leaves nothing out"
        if are_long(news):
            return None
        content_type = watch.view.content_type
        return [_cut(content_type, followed.joined(content_type, news))]

    def at_hand(self, watch: FollowedStream, start: str) -> Cut | None:
        """What follows `start`, when it takes no waiting."""
        span = watch.since(start)
        if span is not None and not are_long([span]):
            return _cut(watch.view.content_type, span)
        entry = self._kept.get(_key(watch, start), self._feeds.clock())
        return None if entry is None else Cut(entry.data_event, entry.end)

    async def read(self, watch: FollowedStream, start: str) -> Cut:
        """The same from news that are long, the cache, or the origin."""
        key = (watch.place.key, start, self._feeds.forgotten)
        return await self._reads.read(key, lambda: self._read(watch, start))

    async def _read(self, watch: FollowedStream, start: str) -> Cut:
        news = watch.since(start) or watch.latest(start)
        if news is not None:
            return await self._rendered(watch.view.content_type, news)
        feeds, place, forgotten = self._feeds, watch.place, self._feeds.forgotten
        given, facts = await feeds.more(watch, start)
        if facts.is_empty:
            feeds.standing(place.key, view_of(place, start, given, facts), ends=True)
            return Cut(b"", start)
        body, until = given.held.body, given.held.stored.fresh_until
        for _ in range(followed.MOST_JOINED):
            if facts.up_to_date or not followed.is_cut(facts.content_type, body):
                break
            given, facts = await feeds.more(watch, facts.next_offset)
            body, until = body + given.held.body, min(until, given.held.stored.fresh_until)
        span = Span(start, facts.next_offset, body)
        watch.read_by_somebody(span, given)
        cut = await self._rendered(facts.content_type, span)
        if given.held.keep and not facts.up_to_date and forgotten == feeds.forgotten:
            groups = (place.read.path,)
            self._kept.put(EventChunk(_key(watch, start), groups, *cut, expires_at=until))
        return cut

    async def _rendered(self, content_type: str, span: Span) -> Cut:
        if not sse.is_long(span.body):
            return _cut(content_type, span)
        event = await self._turns.take(sse.long_data_event(content_type, span.body))
        return Cut(event, span.end)


def _key(watch: FollowedStream, start: str) -> Hashable:
    """What rendered events are kept under: data of another type are rendered otherwise."""
    return watch.place.key, watch.view.content_type, start


def _cut(content_type: str, span: Span) -> Cut:
    if repair.is_nothing(content_type, span.body):
        return Cut(b"", span.end)
    return Cut(sse.data_event(content_type, span.body), span.end)
