"""Doubts about followed streams that other responses cause: a stream is shorter, or replaced."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.cache.fetches.fetch_result import STOOD_IN, FetchResult
from gateway.cache.rules.replica_lag import ANOTHER_STREAM, PERSISTS_S
from gateway.edge.followed.newest_reads import NewestReads, unknown_server
from gateway.edge.polls.poller import UNSURE
from gateway.errors import HeadgateError, OriginBusy, StreamGone
from gateway.protocol.streams.offsets import BEGINNING, NOW

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    from gateway.cache.fetches.fetch import SharedFetch
    from gateway.cache.rules.cached_response import CacheRequest
    from gateway.cache.rules.lost_offsets import LostOffsets, StreamKey
    from gateway.edge.comparison import Evidence
    from gateway.edge.followed.followed_stream import FollowedStream

    # Followed streams, each with its expected end.
    Tails: TypeAlias = "tuple[tuple[FollowedStream, str], ...]"


LONGEST_COMPARISON_S = 1.0  # that a read waits for a comparison, which takes one request, or a few
RETRY_S = 1


class OtherReads(NamedTuple):
    """The reads of one stream by clients that its feed may not serve yet."""

    doubts: Doubts
    key: StreamKey

    def reads(self) -> list[Evidence]:
        """Return the evidence of each read, the latest last."""
        return self.doubts.newest_reads.of(self.key)

    def may_be_late(self, read: Evidence) -> bool:
        """Return whether a replica that lags may not have the data of a read yet."""
        return self.doubts.clock() - read.read_at < PERSISTS_S

    def lose_read(self, common: str | None, read: Evidence) -> None:
        """Refuse the end of a read, and what lies beyond `common`: the stream has lost it."""
        self.doubts.lose_read(self.key, common, read)

    def confirm(self, end: str, before: str, server: str) -> None:
        """Note that `server` has the data that `before` has sent, up to an offset."""
        self.doubts.newest_reads.confirm(self.key, end, before, server)


class Doubts:
    """The judge of one route's streams: which are in doubt, and which offsets are of a lost stream.

    `of_path` returns the followed streams at a path. `follow` follows a stream from where a read
    ended, until it has been compared with the origin's.
    """

    def __init__(
        self,
        of_path: Callable[[str], Sequence[FollowedStream]],
        lost: LostOffsets,
        clock: Callable[[], float],
        follow: Callable[[CacheRequest, Evidence], FollowedStream],
    ) -> None:
        self.newest_reads = NewestReads(clock)
        self._follow = follow
        self._of_path = of_path
        self._lost = lost
        self.clock = clock

    @property
    def forgotten(self) -> Counter[str]:
        """The numbers of offsets dropped that would have been compared or refused, by the bound."""
        return self.newest_reads.forgotten + self._lost.forgotten

    def tails(self, path: str) -> Tails:
        """Return the streams that are followed at a path, before a request for it goes out."""
        streams = self._of_path(path)
        return tuple([(stream, stream.state.expected_end) for stream in streams]) if streams else ()

    def note_answer(self, path: str, tails: Tails, end: str) -> None:
        """Doubt the streams that an answer shows to end before their expected end."""
        for stream, tail in tails:
            if end < tail and stream in self._of_path(path):
                stream.doubt(is_shorter=True)
        if self._lost:  # seldom
            self._lost.note_for_all(path, end, self.clock())

    def comparison_before(self, fetch: SharedFetch) -> Callable[[], Awaitable[None]] | None:
        """Return the comparison that a read from a reader's offset has to wait for, or None.

        It has to wait if the server that has begun to answer is not known to have the data before
        that offset: it is another server than before, or it has failed since.
        """
        start, at_path = fetch.request.start, self._of_path(fetch.request.read.path)
        if not at_path and start in {BEGINNING, NOW}:
            return None
        try:
            unsure = self._unsure(self._followed(fetch, at_path), fetch)
        except HeadgateError:  # the limit of followed streams is reached
            return self._refuse
        for stream in unsure:
            if (
                not stream.verification.is_in_doubt
            ):  # else each read would start the comparison over
                stream.doubt()
            stream.trust.hurry()
        if not unsure or start in {BEGINNING, NOW}:
            return None
        return partial(self._until_sure, unsure, fetch)

    def _followed(
        self, fetch: SharedFetch, at_path: Sequence[FollowedStream]
    ) -> list[FollowedStream]:
        """Return the followed streams that a read is of, after following one if need be.

        Raises HeadgateError if it may not be followed.
        """
        request, key = fetch.request, fetch.request.stream_key
        streams = [one for one in at_path if one.key == key and one.trust.can_be_compared]
        while not streams and request.start not in {BEGINNING, NOW}:
            read = self.newest_reads.unlike(key, request.start, fetch.server)
            if read is None:
                break
            try:
                streams = [self._follow(request, read)]
            except StreamGone:  # a reader with these data is refused already
                self.newest_reads.drop(key, read)
        return streams

    def _unsure(self, streams: list[FollowedStream], fetch: SharedFetch) -> list[FollowedStream]:
        """Return the streams to compare before a read, since its reader may have other data."""
        start, server = fetch.request.start, fetch.server
        unsure = [one for one in streams if not one.verification.is_sure_of(server, start)]
        is_theirs = any(start in one.verification.window.places for one in unsure)
        is_known = not is_theirs and any(start in one.verification.window.places for one in streams)
        read = None
        if start not in {BEGINNING, NOW}:
            key = fetch.request.stream_key
            read = self.newest_reads.unlike(key, start, server, is_known=is_known)
        if read is not None:
            return streams
        return [] if is_known else unsure

    def compare_new(self, stream: FollowedStream, server: str) -> None:
        """Compare a newly followed stream if servers other than `server` have sent data of it.

        Readers may come with offsets of another stream that this one has as well.
        """
        if any(read.server != server for read in self.newest_reads.of(stream.key)):
            stream.doubt()
            stream.trust.hurry()

    async def _refuse(self) -> None:
        raise OriginBusy(UNSURE, RETRY_S)

    async def _until_sure(self, streams: list[FollowedStream], fetch: SharedFetch) -> None:
        """Wait until `streams` are compared.

        Raises OriginBusy if that takes too long, and StreamGone if the reader's data are lost.
        """
        request, now = fetch.request, asyncio.get_running_loop().time
        until, unsure, key = now() + LONGEST_COMPARISON_S, streams, request.stream_key
        read = self.newest_reads.unlike(key, request.start, fetch.server)
        while unsure:
            for stream in unsure:
                await stream.trust.until_compared(until - now())
            is_lost = read is not None and self.newest_reads.up_to(key, read.end) is None
            if is_lost or self.refuses(key, request.start):
                raise StreamGone(ANOTHER_STREAM)
            unsure = self._unsure(streams, fetch)
            followed = self._of_path(request.path)
            # Another doubt may have arisen since the end of a comparison.
            is_asked = all(one.verification.is_in_doubt and one in followed for one in unsure)
            if unsure and (now() >= until or not is_asked):
                raise OriginBusy(UNSURE, RETRY_S)
            for stream in unsure:
                stream.trust.hurry()

    def is_of(self, stream: FollowedStream, offset: str) -> bool:
        """Return whether a reader at an offset may go on with the known data of a stream."""
        read = self.newest_reads.up_to(stream.key, offset)
        is_alike = read is None or stream.verification.is_trusted(read.server)
        return is_alike and not self.refuses(stream.key, offset)

    def on_replaced(self, path: str, tails: Tails | None) -> None:
        """Let go these streams, because another stream was created at their path.

        Without `tails`, as for a creation through another worker, compare the streams instead.
        """
        self.newest_reads.doubt(path)
        for stream in self._of_path(path):
            if tails is None:
                stream.doubt()
            elif any(one is stream for one, _ in tails):
                stream.let_go(StreamGone(ANOTHER_STREAM))

    def on_deleted(self, path: str, *, for_all: bool) -> None:
        """Refuse the offsets that were read of a deleted stream.

        If the stream is not gone `for_all`, only clients without identity have lost it.
        """
        for key in self.newest_reads.keys_of(path):
            if for_all or not key[3]:
                ends = self.newest_reads.pop(key)
                if ends:  # none is refused for good: the next stream may have the same offsets
                    self._lost.lose(key, "", max(ends), frozenset(), self.clock())

    def note(self, fetch: SharedFetch, fetched: FetchResult | None, *, is_of_now: bool) -> None:
        """Note the evidence of a read; one that is outdated may be of another stream."""
        whole = fetched or fetch.whole
        if whole is not None and whole.how is not STOOD_IN:
            request = fetch.request
            server = fetch.server if is_of_now and not fetch.is_of_the_past else unknown_server()
            at_path = self._of_path(request.read.path)
            in_doubt = bool(at_path) and any(
                one.verification.is_in_doubt for one in at_path if one.key == request.stream_key
            )
            self.newest_reads.note(request, whole.cached, server, in_doubt=in_doubt)

    def rest(self, stream: FollowedStream) -> None:
        """Keep evidence of the newest data of a stream that is no longer followed."""
        evidence = stream.trust.evidence
        if evidence is None:
            return
        read = self.newest_reads.up_to(stream.key, evidence.end)
        if (
            stream.verification.is_in_doubt
            or read is None
            or stream.verification.is_trusted(read.server)
        ):
            self.newest_reads.add(stream.key, evidence)

    def lose(self, stream: FollowedStream, common: str, held: frozenset[str]) -> None:
        """Refuse offsets of a lost stream to clients that come back with them."""
        key = stream.lenders.request.stream_key
        end = stream.state.known_end
        if not stream.has_tail:  # a client may have made the offset up, and the origin echoed it
            self._lost.lose_echoed(key, end, self.clock())
            return
        past = self.newest_reads.drop_beyond(key, end)  # a read may have gone past the feed
        self._lost.lose(key, common, max(past | {end}), held | past, self.clock())
        for other in self._of_path(key[1]):
            if other is not stream and other.key == key:  # its readers are not to be refused
                for offset in other.verification.window.places:
                    self._lost.note(key, offset)

    def refuses(self, key: StreamKey, offset: str) -> bool:
        """Return whether an offset may be of a lost stream."""
        return bool(self._lost) and self._lost.refuses(key, offset, self.clock())

    def others(self, request: CacheRequest) -> OtherReads:
        """Return the reads of a stream by clients that its feed did not serve."""
        return OtherReads(self, request.stream_key)

    def lose_read(self, key: StreamKey, common: str | None, read: Evidence) -> None:
        """Refuse the end of a read whose data are lost, and what lies beyond `common`, if any."""
        self.newest_reads.drop(key, read)
        last = "" if common is None else read.end
        self._lost.lose(key, common or "", last, frozenset({read.end}), self.clock())

    def note_offset(self, stream: FollowedStream, offset: str) -> None:
        """Note an offset of the present stream."""
        if self._lost:
            self._lost.note(stream.lenders.request.stream_key, offset)
