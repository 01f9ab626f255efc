"""Evidence of whether another stream is at a path than the one that readers have data of.

An origin may come back with an older copy of a stream, or a server may answer that never had its
end, and offsets do not show it. So every read is noted: where it ended, by which server's
incarnation, and its data. They are compared only where another stream may be there: where another
server answers than had sent them, or one that has failed since, or a followed stream is in doubt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.edge.comparison import Evidence, unknown_server
from gateway.edge.followed.noted_reads import NotedReads
from gateway.edge.followed.snapshots import is_variant
from gateway.edge.reads.fetch_result import STOOD_IN, FetchResult
from gateway.edge.rules.lost_offsets import ANOTHER_STREAM, PERSISTS_S, REFUSED_S
from gateway.errors import StreamGone, StreamNotFound
from gateway.protocol.origins.followed import is_of_type
from gateway.protocol.streams.offsets import NOW
from gateway.protocol.streams.reach import TailBound

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable
    from typing import TypeAlias

    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.followed.followed_table import FollowedTable
    from gateway.edge.followed.noted_reads import ReadStream
    from gateway.edge.followed.stream_reader import StreamReader
    from gateway.edge.reads.fetch import SharedFetch
    from gateway.edge.rules.cached_response import CachedResponse, CacheRequest
    from gateway.edge.rules.lost_offsets import LostOffsets, StreamKey
    from gateway.protocol.origins.repair import StreamRead

    # Followed streams, each with its expected end.
    Tails: TypeAlias = "tuple[tuple[FollowedStream, str], ...]"

LONGEST_EVIDENCE = 8 << 20  # bytes: a checksum takes a millisecond or two, and one more read later


class OtherReads(NamedTuple):
    """The reads of one stream by clients that its feed may not serve yet."""

    evidence: StreamEvidence
    key: StreamKey

    def reads(self) -> list[Evidence]:
        """Return the evidence of each read, the latest last."""
        return self.evidence.reads.of(self.key)

    def may_be_late(self, read: Evidence) -> bool:
        """Return whether a replica that lags may not have the data of a read yet."""
        return self.evidence.clock() - read.read_at < PERSISTS_S

    def lose_read(self, common: str | None, read: Evidence) -> None:
        """Refuse the end of a read, and what lies beyond `common`: the stream has lost it."""
        self.evidence.lose_read(self.key, common, read)

    def confirm(self, end: str, before: str, server: str) -> None:
        """Note that `server` has the data that `before` has sent, up to an offset."""
        self.evidence.reads.confirm(self.key, end, before, server)


class StreamEvidence:
    """The evidence of one route: what its streams are, and which offsets are of lost ones."""

    def __init__(
        self,
        table: FollowedTable,
        lost: LostOffsets,
        reader: StreamReader,
        clock: Callable[[], float],
    ) -> None:
        self._table = table
        self._lost = lost
        self._reader = reader
        self.clock = clock
        self.reads = NotedReads(clock)

    @property
    def forgotten(self) -> Counter[str]:
        """The numbers of offsets dropped that would have been compared or refused, by the bound."""
        return self.reads.forgotten + self._lost.forgotten

    # What reads show

    def note(self, fetch: SharedFetch, fetched: FetchResult | None) -> bool:
        """Note what a read shows; return False if it is of a stream that was there before.

        What it shows to be outdated is dropped: a followed stream, or responses.
        """
        whole, request, is_past = fetched or fetch.whole, fetch.request, fetch.is_of_the_past
        if whole is not None and whole.how is STOOD_IN:
            return True
        cached = fetch.response.result() if whole is None else whole.cached
        facts = cached.facts
        if facts is None or (cached.stored.vary and is_variant(cached)):
            if cached.status == 404 and not (is_past or request.admitted_as):
                followed = self._table.by_key.get(request.stream_key)
                if followed is not None:
                    followed.end(StreamNotFound("the stream was deleted"))
            return True
        stream = self.reads.stream(request.stream_key, facts.content_type)
        is_of_now = not is_past and self._is_of_now(stream, fetch, facts, fetched)
        if whole is not None and not (facts.is_empty or facts.is_coded):
            server = fetch.server if is_of_now else unknown_server()
            self._note_read(stream, request, cached, facts, server)
        return is_of_now or is_past

    def _is_of_now(
        self,
        stream: ReadStream,
        fetch: SharedFetch,
        facts: StreamRead,
        fetched: FetchResult | None,
    ) -> bool:
        """Judge a read, of which perhaps the whole body was `fetched`, by what is known."""
        request = fetch.request
        key, content_type = request.stream_key, facts.content_type
        is_another = stream.content_type != content_type and not is_of_type(
            content_type, stream.content_type
        )
        if is_another and fetch.number < stream.number:
            return False  # a later request has found a stream of another type
        stream.content_type = content_type
        stream.number = max(stream.number, fetch.number)
        followed = self._table.by_key.get(key)
        if followed is not None:
            self._compare(followed, fetch, facts, None if fetched is None else fetched.cached.body)
        if is_another:
            self._reader.forget(request.path)
            self._table.newest.drop(key)
        if not facts.is_empty:
            is_newest = self._table.note_newest(key, facts.next_offset)
            if is_newest and request.identity:
                self._reader.drop_cached_tail(request.path)  # what everybody would get is older
        if facts.up_to_date or facts.is_empty:
            self._table.note_tail(request, TailBound(facts.next_offset, facts.closed))
        return True

    def _compare(
        self, stream: FollowedStream, fetch: SharedFetch, facts: StreamRead, body: bytes | None
    ) -> None:
        """End or doubt a stream if a read, whose whole body is `body`, shows another one."""
        if stream.reads.show_another(fetch, facts, body):
            stream.end(StreamGone(ANOTHER_STREAM))
            if facts.next_offset != fetch.request.start:  # else the origin may only have echoed it
                self.note_offset(stream, facts.next_offset)
        if facts.ends:
            self.note_end(fetch, facts.next_offset)

    def note_end(self, fetch: SharedFetch, end: str) -> None:
        """Doubt a followed stream if a read of it ends before the stream's expected end."""
        stream = self._table.by_key.get(fetch.request.stream_key)
        if stream is not None and fetch.passed_by is None and end < stream.state.expected_end:
            stream.doubt(is_shorter=True)

    def distrust(self, path: str) -> None:
        """Drop everything rendered of a path, because an answer may have been another request's."""
        self._reader.distrust(path)
        for stream in self._table.of_path(path):
            stream.doubt()

    def _note_read(
        self,
        stream: ReadStream,
        request: CacheRequest,
        cached: CachedResponse,
        facts: StreamRead,
        server: str,
    ) -> None:
        """Note the data of a read that came whole.

        Earlier evidence of data up to the same offset is kept if it may be of another stream.
        """
        start, end, body, now = request.start, facts.next_offset, cached.body, self.clock()
        if start == NOW or len(body) > LONGEST_EVIDENCE:
            return
        if end < stream.last and not facts.up_to_date and stream.reaches_beyond(end, server):
            return
        read = Evidence(start, end, server, facts.content_type, now, body, len(body))
        known = stream.reads.get(end)
        if known is not None:
            # A reader that was sent it comes back within a minute, or waits in a feed that has it.
            is_fresh = known.server != server and now - known.read_at < REFUSED_S
            is_in_doubt = any(
                one.verification.is_in_doubt
                for one in self._table.of_path(request.path)
                if one.key == request.stream_key
            )
            if (is_fresh or is_in_doubt) and not known.is_same(read):
                return
        self.reads.note(stream, read)

    def is_of(self, stream: FollowedStream, offset: str) -> bool:
        """Return whether a reader at an offset may go on with the known data of a stream."""
        read = self.reads.up_to(stream.key, offset)
        is_alike = read is None or stream.verification.is_trusted(read.server)
        return is_alike and not self.refuses(stream.key, offset)

    # What writes show

    def tails(self, path: str) -> Tails:
        """Return the streams that are followed at a path, before a request for it goes out."""
        streams = self._table.of_path(path)
        return tuple([(stream, stream.state.expected_end) for stream in streams]) if streams else ()

    def note_answer(self, path: str, tails: Tails, end: str) -> None:
        """Doubt the streams that an answer shows to end before their expected end."""
        for stream, tail in tails:
            if end < tail and stream in self._table.of_path(path):
                stream.doubt(is_shorter=True)
        if self._lost:  # seldom
            self._lost.note_for_all(path, end, self.clock())

    def on_replaced(self, path: str, tails: Tails | None) -> None:
        """Let go these streams, because another stream was created at their path.

        Without `tails`, as for a creation through another worker, compare the streams instead.
        """
        self.reads.doubt(path)
        for one in self._table.of_path(path):
            if tails is None:
                one.doubt()
            elif any(known is one for known, _ in tails):
                one.let_go(StreamGone(ANOTHER_STREAM))

    def on_deleted(self, path: str, *, for_all: bool) -> None:
        """Refuse the offsets that were read of a deleted stream.

        If the stream is not gone `for_all`, only clients without identity have lost it.
        """
        for key in self.reads.keys_of(path):
            if for_all or not key[3]:
                ends = self.reads.drop_beyond(key, "")
                if ends:  # none is refused for good: the next stream may have the same offsets
                    self._lost.lose(key, "", max(ends), frozenset(), self.clock())

    # What is lost

    def rest(self, stream: FollowedStream) -> None:
        """Keep evidence of the newest data of a stream that is no longer followed."""
        newest, verified = stream.trust.evidence, stream.verification
        if newest is None:
            return
        read = self.reads.up_to(stream.key, newest.end)
        if verified.is_in_doubt or read is None or verified.is_trusted(read.server):
            self.reads.add(stream.key, newest)

    def lose(self, stream: FollowedStream, common: str, held: frozenset[str]) -> None:
        """Refuse offsets of a lost stream to clients that come back with them."""
        key = stream.lenders.request.stream_key
        end = stream.state.known_end
        if not stream.has_tail:  # a client may have made the offset up, and the origin echoed it
            self._lost.lose_echoed(key, end, self.clock())
            return
        past = self.reads.drop_beyond(key, end)  # a read may have gone past the feed
        self._lost.lose(key, common, max(past | {end}), held | past, self.clock())
        for other in self._table.of_path(key[1]):
            if other is not stream and other.key == key:  # its readers are not to be refused
                for offset in other.verification.window.places:
                    self._lost.note(key, offset)

    def lose_read(self, key: StreamKey, common: str | None, read: Evidence) -> None:
        """Refuse the end of a read whose data are lost, and what lies beyond `common`, if any."""
        self.reads.drop(key, read)
        last = "" if common is None else read.end
        self._lost.lose(key, common or "", last, frozenset({read.end}), self.clock())

    def refuses(self, key: StreamKey, offset: str) -> bool:
        """Return whether an offset may be of a lost stream."""
        return bool(self._lost) and self._lost.refuses(key, offset, self.clock())

    def note_offset(self, stream: FollowedStream, offset: str) -> None:
        """Note an offset of the present stream."""
        if self._lost:
            self._lost.note(stream.lenders.request.stream_key, offset)

    def is_newest(self, key: StreamKey, end: str, number: int) -> bool:
        """Return whether an answer may show that its reader is up to date (`NewestData`)."""
        return self._table.newest.is_newest(key, end, number)

    def others(self, request: CacheRequest) -> OtherReads:
        """Return the reads of a stream by clients that its feed did not serve."""
        return OtherReads(self, request.stream_key)
