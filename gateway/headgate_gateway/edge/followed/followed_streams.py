"""The followed streams of a route: one feed and one long-poll a stream serve all its readers."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import ExitStack
from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from headgate_gateway.edge.followed.checks import StreamChecks
from headgate_gateway.edge.followed.comparison import SAME
from headgate_gateway.edge.followed.evidence import StreamEvidence
from headgate_gateway.edge.followed.feed_source import EdgeFeedSource
from headgate_gateway.edge.followed.followed_stream import FollowedOwner, FollowedStream
from headgate_gateway.edge.followed.followed_table import FollowedTable, FollowedWrites
from headgate_gateway.edge.followed.origin_reads import UNSURE, OriginReads, as_read
from headgate_gateway.edge.followed.poller import PolledOrigin
from headgate_gateway.edge.followed.recent_window import WindowBudget
from headgate_gateway.edge.followed.verdict import of_reader
from headgate_gateway.edge.reads.http_cache import REFRESH_PAUSE_S
from headgate_gateway.edge.reads.shared_response import StreamKnowledge
from headgate_gateway.errors import OriginBusy, StreamGone, StreamNotFound
from headgate_gateway.protocol.streams.offsets import TailBound
from headgate_gateway.rules.followed import Snapshot, Span
from headgate_gateway.rules.read_rules import ANOTHER_STREAM, LostOffsets, ReplicaLag
from headgate_gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.comparison import Evidence
    from headgate_gateway.edge.reads.http_cache import CacheResult
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.live.source import FeedSettings
    from headgate_gateway.origin.client import Origin
    from headgate_gateway.protocol.cache_headers import Freshness
    from headgate_gateway.protocol.requests import LongPoll
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.routes.services import Services
    from headgate_gateway.rules.cached_response import CachedResponse, CacheRequest, StreamKey
    from headgate_gateway.rules.response_rules import ResponseRules
    from headgate_gateway.telemetry.traffic import Traffic

NEWS_BYTES = 256 << 20  # of all streams of a route together
COMPARED = "comparisons"  # the client that streams count for which are followed only to be compared
LINGER_S = 5.0  # a client is away between two polls, and comes back after a reload
LONGEST_DOUBT_S = 10.0  # within it a poll, after pauses too, shows whether a replica only lagged


class FollowedStreams(FollowedOwner):
    """The streams that a route follows: reads begin to follow one, and readers join its feed."""

    source: EdgeFeedSource

    def __init__(
        self,
        origin: Origin,
        settings: FeedSettings,
        services: Services,
        traffic: Traffic,
        rules: ResponseRules,
        freshness: Freshness,
    ) -> None:
        self.origin = PolledOrigin(origin, rules.identity, freshness, Counter())
        self.budget = WindowBudget(NEWS_BYTES)
        self.reader = OriginReads(services.clock)
        self.source = EdgeFeedSource(self.reader, freshness, settings, services, traffic)
        # The origin has not sent what is made of its news, so the rules do not count that.
        self.recent_rules = replace(rules, repairs=Counter(), lag=ReplicaLag(), lost=LostOffsets())
        self.table = FollowedTable()
        self.evidence = StreamEvidence(rules.lost, services.clock)
        self._checks = StreamChecks(self.evidence, self.table, self.reader, self._compare)
        self.writes = FollowedWrites(self.table, self.evidence)
        self._limits = services.limits
        self._draining = False
        self._losses = RareLine("origin.lost_stream")

    def knowledge(self) -> StreamKnowledge:
        """Return what the route's cache may ask and report."""
        return StreamKnowledge(
            forget=self.reader.forget,
            distrust=self._checks.distrust,
            is_tail=self.table.is_tail,
            is_newest=self.evidence.newest.is_newest,
            note=self._checks.note,
            note_end=self._checks.note_end,
            comparison_before=self._checks.comparison_before,
            recent_response=self._recent_response,
            is_down=self.origin.client.servers.are_down,
        )

    def _recent_response(self, request: CacheRequest) -> CachedResponse | None:
        """Return recent data in place of a response that the origin has just failed to send."""
        stream = self.read_by(request)
        found = None if stream is None else stream.recent_response(request)
        if stream is not None and found is not None:
            stream.rests_until = self.evidence.clock() + REFRESH_PAUSE_S
        return found

    def peek(self, key: StreamKey, offset: str) -> FollowedStream | None:
        """Return the followed stream, unless the offset may be of an earlier stream."""
        stream = self.table.by_key.get(key)
        if stream is None:
            return None
        found = of_reader(stream, offset, stream.verification.server, self.evidence)
        return stream if found is SAME else None

    def read_by(self, request: CacheRequest) -> FollowedStream | None:
        """Return the followed stream that a request reads, or None."""
        return self.peek(request.stream_key, request.start) if self.table.by_key else None

    def follow(
        self, request: CacheRequest, snapshot: Snapshot, client: str, *, has_tail: bool = True
    ) -> FollowedStream:
        """Follow a stream from the end of a read, within the limits of a client.

        Without `has_tail` the origin has only echoed the offset of the read. Raises StreamGone if
        that offset is lost.
        """
        key = request.stream_key
        if not has_tail and self.evidence.refuses(key, snapshot.tail):
            raise StreamGone(ANOTHER_STREAM)
        stream = self.table.verified(key, snapshot, ends=True)
        if stream is None or self._set_aside(stream, snapshot):
            return self._begin(request, snapshot, client, has_tail=has_tail)
        stream.requests.add(request)
        stream.is_only_compared = False
        if has_tail:
            stream.state.note_tail(snapshot.tail)
        return stream

    def _set_aside(self, stream: FollowedStream, snapshot: Snapshot) -> bool:
        """Set a stream in doubt aside if a read shows a shorter one, and return whether it was.

        New readers get a feed beside the one in doubt; there is at most one such feed.
        """
        is_shorter = snapshot.tail < stream.state.snapshot.tail
        if not (stream.verification.is_in_doubt and is_shorter and snapshot.caught_up):
            return False
        if len(self.table.of_key(stream.key)) > 1:
            return False
        del self.table.by_key[stream.key]
        if not stream.feed.has_readers:
            self._linger(stream)  # its data are compared, for readers that come back
        return True

    def _begin(
        self, request: CacheRequest, snapshot: Snapshot, client: str, *, has_tail: bool
    ) -> FollowedStream:
        with ExitStack() as resources:
            resources.enter_context(self._limits.feed(client))
            stream = FollowedStream(request, snapshot, self, has_tail=has_tail)
            resources.callback(stream.close)
            self._linger(stream)
            self.table.add(stream)
            stream.resources = resources.pop_all()
        if has_tail:
            self.evidence.lost.note(stream.key, snapshot.tail)
        if not self.evidence.newest.is_newest(stream.key, snapshot.tail, snapshot.number):
            stream.state.overtake()  # by data that came since the read
        written = self.writes.since(stream.path)
        if written is not None and not snapshot.closed:
            stream.note_write(written)
        server = self.origin.client.servers.incarnation
        if any(read.server != server for read in self.evidence.of(stream.key)):
            stream.compare()  # readers may come with offsets of another stream that it has, too
        return stream

    def _compare(self, request: CacheRequest, read: Evidence) -> FollowedStream:
        """Follow a stream from where a read ended, until it has been compared with the origin's."""
        plain = self.reader.keyed(request.plain(self.origin.identity))
        tail = Snapshot(plain.path, read.content_type, read.end, closed=False, caught_up=False)
        self.evidence.add(plain.stream_key, read)
        stream = self.follow(plain, tail, COMPARED, has_tail=False)
        stream.is_only_compared = True
        stream.doubt()
        self._linger(stream)
        return stream

    def poll_response(
        self,
        request: CacheRequest,
        read: LongPoll,
        snapshot: Snapshot,
        result: CacheResult,
        position: str,
        client: str,
    ) -> Response | None:
        """Return the response to a poll that has read from the origin; None if it has to wait."""
        facts = result.cached.facts
        if facts is None or facts.is_empty:
            return (
                self.source.no_content(snapshot, read, snapshot.tail) if snapshot.closed else None
            )
        span = Span(position, snapshot.tail, result.cached.body)
        stream = self.read_by(request)
        if snapshot.caught_up and not snapshot.closed and self._limits.may_follow(client):
            # The client will be back at the next offset, and in a crowd some always come too late
            # for the tail: so the stream is followed from now on.
            stream = self.follow(request, snapshot, client)
        if stream is not None:
            stream.note_read(span, result)
        return self.source.data(as_read(snapshot, result, facts), read, span)

    def join(
        self, stream: FollowedStream, request: CacheRequest | None = None
    ) -> Feed[FollowedStream, Span]:
        """Return the feed for one more reader and its request; raise at the limit of readers."""
        if request is not None:
            stream.requests.add(request)
        self._limits.reader_joins()
        if stream.closing is not None:
            stream.closing.cancel()
            stream.closing = None
        return stream.feed

    @override
    def on_growth(self, stream: FollowedStream) -> None:
        known = stream.state.snapshot
        tail = TailBound(known.tail, known.closed)
        self.reader.cache.on_growth(stream.path, tail)
        if self.evidence.newest.note(stream.key, known.tail):
            self.table.overtake(stream.key, known.tail)

    @override
    def on_compared(self, stream: FollowedStream) -> None:
        if self.table.by_key.get(stream.key) is not stream:
            self._rest(stream)
            stream.feed.end(OriginBusy(UNSURE), lambda _: True)  # its readers join that feed
        elif stream.is_only_compared and not stream.feed.has_readers:
            self._rest(stream)

    @override
    def on_end(self, stream: FollowedStream, reason: HeadgateError, *, is_expected: bool) -> None:
        if isinstance(reason, StreamGone | StreamNotFound):
            # A loss is logged if it has readers: a restarted origin may have lost it.
            is_read = stream.feed.has_readers and self.table.by_key.get(stream.key) is stream
            if is_read and not (is_expected or stream.path in self.writes.deletions):
                self._losses.note(reason=reason.detail, path=stream.path)
            self._checks.lose(stream)
        if stream.requests.differ:
            self.reader.unshare(stream.key)
        self.evidence.newest.drop(stream.key)
        self._unfollow(stream)
        self.reader.forget(stream.path)

    @override
    def on_feed_empty(self, feed: Feed[FollowedStream, Span]) -> None:
        stream = feed.stream
        if self._draining or feed.closed:
            self._rest(stream)
        elif stream in self.table:
            self._linger(stream)

    def _linger(self, stream: FollowedStream) -> None:
        """Follow a stream a little longer; one in doubt until a replica's lag would be over."""
        if stream.closing is not None:
            stream.closing.cancel()
        for_s = LONGEST_DOUBT_S if stream.verification.is_in_doubt else LINGER_S
        stream.closing = asyncio.get_running_loop().call_later(for_s, self._rest, stream)

    def _rest(self, stream: FollowedStream) -> None:
        """Stop following a stream, and keep evidence of its data: it may still exist."""
        if stream in self.table:
            self._checks.rest(stream)
            self._unfollow(stream)

    def _unfollow(self, stream: FollowedStream) -> None:
        if self.table.remove(stream):
            stream.resources.close()
            if not self.table.by_path:
                self.source.clear()

    async def drain(self) -> None:
        """Disconnect every live reader, and wait until no stream is followed."""
        self._draining = True
        for stream in self.table:
            if stream.feed.has_readers:
                stream.feed.drain()
            else:
                self._unfollow(stream)
        await self.table.is_empty.wait()

    def close(self) -> None:
        """Stop following all streams at once, whether or not they have readers."""
        for stream in self.table:
            self._unfollow(stream)
        self._losses.close()
