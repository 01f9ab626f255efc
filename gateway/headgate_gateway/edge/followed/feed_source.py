"""Responses to long-polls, and events for SSE readers, of an origin's followed streams."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.access.reader_keys import renewed
from headgate_gateway.background import Turns
from headgate_gateway.edge.followed.origin_reads import as_read, as_sent, snapshot_of
from headgate_gateway.errors import OriginBusy
from headgate_gateway.live.contract import DataEvent
from headgate_gateway.live.source import LONGEST_ROUND, EventChunk, FeedSource, rendered
from headgate_gateway.protocol.bodies.content import data_event
from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.rules import followed, repair
from headgate_gateway.rules.followed import Span
from headgate_gateway.rules.served_lifetimes import shortened_lines
from headgate_gateway.runtime.single_flight import SingleFlight

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from headgate_gateway.access.reader_keys import ReaderKeys
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.edge.followed.origin_reads import OriginReads
    from headgate_gateway.live.contract import Parked
    from headgate_gateway.live.source import FeedSettings
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.requests import CatchUp, Read
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.services import Services
    from headgate_gateway.rules.followed import Snapshot
    from headgate_gateway.telemetry.traffic import Traffic

MAX_RENDERED = 1024  # at most 64 MB; readers come in few groups, and news outdate them
LONGEST_RENDERED = 64 << 10  # bytes
MOST_READS = 2  # for the end of a stream that is written to meanwhile; then the client asks again
RETRY_S = 1
GROWS = "the stream was written to while its end was looked for"


class EdgeFeedSource(FeedSource["FollowedStream", Span]):
    """The FeedSource of a route: the recent windows of followed streams, the cache, the origin."""

    def __init__(
        self,
        reader: OriginReads,
        freshness: Freshness,
        settings: FeedSettings,
        services: Services,
        traffic: Traffic,
    ) -> None:
        super().__init__(services, settings, traffic)
        self._reader = reader
        self._freshness = freshness
        self.reader_keys: ReaderKeys | None = None
        self._rendered: dict[tuple[Snapshot, str, int | None, int], tuple[bytes, int]] = {}
        self._reads: SingleFlight[DataEvent] = SingleFlight()
        self.turns = Turns()

    def clear(self) -> None:
        """Drop all rendered responses: nothing is followed any more."""
        self._rendered.clear()

    def recent(self, stream: FollowedStream, read: LongPoll, position: str) -> Response | None:
        """Return the response to a poll that is a little behind; None if its data are gone."""
        span = stream.since(position)
        return None if span is None else self.data(stream.state.snapshot, read, span)

    def rendered_recent(self, stream: FollowedStream, read: LongPoll) -> tuple[bytes, int] | None:
        """Return the bytes of `recent`'s response, and the size of its body.

        They are rendered once for all equal polls.
        """
        assert isinstance(read.offset, str), "polls name one"
        if stream.verification.is_behind:
            return None
        key = (stream.state.snapshot, read.offset, read.cursor, int(self.services.clock()))
        rendered = self._rendered.get(key)
        if rendered is None:
            response = self.recent(stream, read, read.offset)
            if response is None:
                return None
            rendered = self.services.collapsed(response)[1], len(response.body)
            if len(self._rendered) >= MAX_RENDERED:
                self._rendered.clear()
            if len(rendered[0]) <= LONGEST_RENDERED:
                self._rendered[key] = rendered
        return rendered

    def data(self, snapshot: Snapshot, read: CatchUp | LongPoll, span: Span) -> Response:
        """Return 200 with data; a poll whose URL others may send has the lifetime of a tail."""
        now, freshness = self.services.clock(), self._freshness
        read = renewed(self.reader_keys, read)
        if snapshot.read_directives:
            short = shortened_lines(snapshot.read_directives, freshness)
            snapshot = snapshot._replace(read_directives=short)
        if isinstance(read, LongPoll) and not followed.moves_on(read, now):
            directives = snapshot.poll_directives or snapshot.read_directives or ""
            snapshot = snapshot._replace(poll_directives=shortened_lines(directives, freshness))
        snapshot = as_sent(snapshot, read, freshness)
        return followed.data(snapshot, read, span, now, freshness.toward(read.by_key))

    def no_content(self, snapshot: Snapshot, read: Read, offset: str) -> Response:
        """Return 204, for a poll whose time is over or whose stream is closed."""
        read = renewed(self.reader_keys, read)
        sent = as_sent(snapshot, read, self._freshness)
        freshness = self._freshness.toward(read.by_key)
        return followed.poll_ended(sent, read, offset, self.services.clock(), freshness)

    @override
    def news_bytes(self, news: Sequence[Span]) -> int:
        return sum(len(span.body) for span in news)

    @override
    def poll_data(
        self, stream: FollowedStream, parked: Parked, news: Sequence[Span]
    ) -> Response | None:
        """Return the response to a waiting poll; None if its data are not at hand."""
        response = self.recent(stream, parked.read, parked.position)
        if response is None and news and news[0].start == parked.position:  # too long to store
            if self.news_bytes(news) > LONGEST_ROUND:
                news = news[:1]  # the client comes back for the others
            span = followed.joined(stream.state.snapshot.content_type, news)
            response = self.data(stream.state.snapshot, parked.read, span)
        return response

    @override
    def poll_ended(self, stream: FollowedStream, parked: Parked) -> Response | None:
        """Return 204 if the stream is known to end at the poll's offset, else None."""
        if not followed.is_end(stream.state.snapshot, parked.position):
            return None
        return self.no_content(stream.state.snapshot, parked.read, parked.position)

    @override
    async def late_poll(self, stream: FollowedStream, parked: Parked) -> Response | None:
        """Return the response to a poll whose offset is inside the news; None to let it wait."""
        response = await self._read_poll(stream, parked)
        is_over = parked.deadline <= asyncio.get_running_loop().time()
        return response if response.status == 200 or is_over else None

    async def out_of_time(self, stream: FollowedStream, parked: Parked) -> Response:
        """Return the response to a poll that has waited long enough."""
        lost = stream.feed.lost
        if lost is not None:
            return self.services.problem(lost)
        return self.poll_ended(stream, parked) or await self._read_poll(stream, parked)

    async def _read_poll(self, stream: FollowedStream, parked: Parked) -> Response:
        """Return the response to a poll, from the cache or the origin.

        A 204 says that the stream ends there (section 5.7). A read that a write has passed does not
        show that: the next one has its data.
        """
        for _ in range(MOST_READS):
            result, facts = await self._reader.read_on(
                stream.requests, stream.state.snapshot.content_type, parked.position
            )
            known = snapshot_of(stream.requests.current, result, facts)
            known = as_read(known, result, facts)
            if not facts.is_empty:
                span = Span(parked.position, facts.next_offset, result.cached.body)
                stream.note_read(span, result)
                return self.data(known, parked.read, span)
            if known.caught_up:
                return self.no_content(known, parked.read, facts.next_offset)
        return self.services.problem(OriginBusy(GROWS, RETRY_S))

    @override
    def data_events(
        self, stream: FollowedStream, start: str, news: Sequence[Span]
    ) -> list[DataEvent] | None:
        if not news:
            return []
        assert news[0].start == start, "a follower leaves nothing out"
        if self.news_bytes(news) > LONGEST_ROUND:
            return None
        content_type = stream.state.snapshot.content_type
        return [_data_event(content_type, followed.joined(content_type, news))]

    @override
    def cached_event(self, stream: FollowedStream, start: str) -> DataEvent | None:
        """Return the data after `start` as an event if that takes no waiting, else None."""
        span = stream.since(start)
        if span is not None and len(span.body) <= LONGEST_ROUND:
            return _data_event(stream.state.snapshot.content_type, span)
        entry = self._reader.events.get(_key(stream, start), self.services.clock())
        return None if entry is None else DataEvent(entry.data_event, entry.end)

    @override
    async def read_event(self, stream: FollowedStream, start: str) -> DataEvent:
        """Return the data after `start` as an event: from long news, the cache, or the origin."""
        key = (stream.key, start, self._reader.forgotten)
        return await self._reads.read(key, lambda: self._event(stream, start))

    async def _event(self, stream: FollowedStream, start: str) -> DataEvent:
        content_type = stream.state.snapshot.content_type
        news = stream.since(start, even_long=True)
        if news is not None:
            return await self._rendered_event(content_type, news)
        reader, requests, forgotten = self._reader, stream.requests, self._reader.forgotten
        result, facts = await reader.read_on(requests, content_type, start)
        if facts.is_empty:
            stream.verify(snapshot_of(stream.requests.current, result, facts), ends=True)
            return DataEvent(b"", start)
        body, until = result.cached.body, result.cached.stored.fresh_until
        for _ in range(followed.MOST_JOINED):
            if facts.up_to_date or not followed.is_cut(facts.content_type, body):
                break
            result, facts = await reader.read_on(requests, content_type, facts.next_offset)
            body, until = body + result.cached.body, min(until, result.cached.stored.fresh_until)
        span = Span(start, facts.next_offset, body)
        stream.note_read(span, result)
        event = await self._rendered_event(facts.content_type, span)
        if result.cached.is_storable and not facts.up_to_date and forgotten == reader.forgotten:
            groups = (stream.path,)
            reader.events.put(EventChunk(_key(stream, start), groups, *event, expires_at=until))
        return event

    async def _rendered_event(self, content_type: str, span: Span) -> DataEvent:
        if repair.is_nothing(content_type, span.body):
            return DataEvent(b"", span.end)
        return DataEvent(await rendered(self.turns, content_type, span.body), span.end)


def _key(stream: FollowedStream, start: str) -> Hashable:
    """Return the key of a rendered event: data of another type are rendered differently."""
    return stream.key, stream.state.snapshot.content_type, start


def _data_event(content_type: str, span: Span) -> DataEvent:
    if repair.is_nothing(content_type, span.body):
        return DataEvent(b"", span.end)
    return DataEvent(data_event(content_type, span.body), span.end)
