"""Data events of an origin's streams, rendered once for all who are at the same place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from gateway.cache.rendered import EVENT_CHUNK_BYTES, EventChunk
from gateway.cache.single_flight import SingleFlight
from gateway.cache.store import Store
from gateway.edge.snapshots import snapshot_of
from gateway.live.data_event import LONGEST_ROUND, DataEvent, rendered
from gateway.protocol import followed, repair, sse
from gateway.protocol.followed import Span
from gateway.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from gateway.cache.http_cache import CacheResult
    from gateway.edge.followed_stream import FollowedStream
    from gateway.protocol.followed import Snapshot
    from gateway.protocol.repair import StreamRead


def are_long(news: Sequence[Span]) -> bool:
    """Whether news are too many bytes to be dealt with at once."""
    return sum(len(span.body) for span in news) > LONGEST_ROUND


class Reading(Protocol):
    """What it takes to read on in a followed stream."""

    clock: Callable[[], float]
    forgotten: int  # times: what was asked for before the last one may be of the past

    async def more(self, stream: FollowedStream, start: str) -> tuple[CacheResult, StreamRead]:
        """What the stream has after an offset. Raises StreamGone when another one is there."""

    def standing(self, key: Hashable, snapshot: Snapshot, *, ends: bool) -> FollowedStream | None:
        """The followed stream, unless a read, which perhaps `ends`, shows that it is no more."""


class EdgeEvents:
    """What the SSE readers of a route's streams are given."""

    def __init__(self, feeds: Reading) -> None:
        self._feeds = feeds
        self._kept: Store[EventChunk] = Store(EVENT_CHUNK_BYTES)
        self._reads: SingleFlight[DataEvent] = SingleFlight()
        self._turns = Turns()

    def drop(self, path: str) -> None:
        """Keep nothing of what was read at a path."""
        self._kept.drop(path)

    def data_events(
        self, stream: FollowedStream, start: str, news: Sequence[Span]
    ) -> list[DataEvent] | None:
        """News as one data event; None when they are too long for one turn."""
        if not news:
            return []
        assert news[0].start == start, "a follower leaves nothing out"
        if are_long(news):
            return None
        content_type = stream.snapshot.content_type
        return [_data_event(content_type, followed.joined(content_type, news))]

    def at_hand(self, stream: FollowedStream, start: str) -> DataEvent | None:
        """What follows `start`, when it takes no waiting."""
        span = stream.since(start)
        if span is not None and not are_long([span]):
            return _data_event(stream.snapshot.content_type, span)
        entry = self._kept.get(_key(stream, start), self._feeds.clock())
        return None if entry is None else DataEvent(entry.data_event, entry.end)

    async def read(self, stream: FollowedStream, start: str) -> DataEvent:
        """The same from news that are long, the cache, or the origin."""
        key = (stream.place.key, start, self._feeds.forgotten)
        return await self._reads.read(key, lambda: self._read(stream, start))

    async def _read(self, stream: FollowedStream, start: str) -> DataEvent:
        news = stream.since(start) or stream.latest(start)
        if news is not None:
            return await self._rendered(stream.snapshot.content_type, news)
        feeds, place, forgotten = self._feeds, stream.place, self._feeds.forgotten
        result, facts = await feeds.more(stream, start)
        if facts.is_empty:
            feeds.standing(place.key, snapshot_of(place, start, result, facts), ends=True)
            return DataEvent(b"", start)
        body, until = result.cached.body, result.cached.stored.fresh_until
        for _ in range(followed.MOST_JOINED):
            if facts.up_to_date or not followed.is_cut(facts.content_type, body):
                break
            result, facts = await feeds.more(stream, facts.next_offset)
            body, until = body + result.cached.body, min(until, result.cached.stored.fresh_until)
        span = Span(start, facts.next_offset, body)
        stream.read_by_somebody(span, result)
        event = await self._rendered(facts.content_type, span)
        if result.cached.keep and not facts.up_to_date and forgotten == feeds.forgotten:
            groups = (place.read.path,)
            self._kept.put(EventChunk(_key(stream, start), groups, *event, expires_at=until))
        return event

    async def _rendered(self, content_type: str, span: Span) -> DataEvent:
        if repair.is_nothing(content_type, span.body):
            return DataEvent(b"", span.end)
        return DataEvent(await rendered(self._turns, content_type, span.body), span.end)


def _key(stream: FollowedStream, start: str) -> Hashable:
    """What rendered events are kept under: data of another type are rendered otherwise."""
    return stream.place.key, stream.snapshot.content_type, start


def _data_event(content_type: str, span: Span) -> DataEvent:
    if repair.is_nothing(content_type, span.body):
        return DataEvent(b"", span.end)
    return DataEvent(sse.data_event(content_type, span.body), span.end)
