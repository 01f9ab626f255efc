"""Doubts of followed streams that other answers give rise to: a stream got shorter, or another."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from gateway.cache.fetches.fetched import STOOD_IN, Fetched
from gateway.cache.rules.replica_lag import ANOTHER_STREAM, PERSISTS_S
from gateway.edge.followed.newest_reads import NewestReads, unknown_server
from gateway.edge.followed.poller import UNSURE
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

    # Followed streams, each with how far it is known to go.
    Tails: TypeAlias = "tuple[tuple[FollowedStream, str], ...]"


LONGEST_COMPARISON_S = 1.0  # that a read waits for: it takes one request, or a few
RETRY_S = 1


class OtherReads(NamedTuple):
    """The reads of one stream by clients that its feed may not serve yet."""

    doubts: Doubts
    key: StreamKey

    def reads(self) -> list[Evidence]:
        """Return the evidence of each read, the latest last."""
        return self.doubts.newest_reads.of(self.key)

    def may_be_late(self, read: Evidence) -> bool:
        """Return whether a replica that lags may not have what was read."""
        return self.doubts.clock() - read.read_at < PERSISTS_S

    def lose_read(self, common: str | None, read: Evidence) -> None:
        """Refuse the end of a read, and what lies beyond `common`: the stream has lost it."""
        self.doubts.lose_read(self.key, common, read)

    def confirm(self, end: str, before: str, server: str) -> None:
        """Note that a server has what another one has told of up to an offset."""
        self.doubts.newest_reads.confirm(self.key, end, before, server)


class Doubts:
    """The doubts of one route; `of_path` finds the followed streams of a path."""

    def __init__(
        self,
        of_path: Callable[[str], Sequence[FollowedStream]],
        lost: LostOffsets,
        clock: Callable[[], float],
        follow: Callable[[CacheRequest, Evidence], FollowedStream],
    ) -> None:
        """`follow` follows a stream from where a read ended, until that has been compared."""
        self.newest_reads = NewestReads(clock)
        self._follow = follow
        self._of_path = of_path
        self._lost = lost
        self.clock = clock

    @property
    def forgotten(self) -> Counter[str]:
        """How often something to compare with, or to refuse, was dropped, by the bound."""
        return self.newest_reads.forgotten + self._lost.forgotten

    def tails(self, path: str) -> Tails:
        """Return the streams that are followed at a path, before a request for it goes out."""
        streams = self._of_path(path)
        return tuple([(stream, stream.known_end) for stream in streams]) if streams else ()

    def answered(self, path: str, tails: Tails, end: str) -> None:
        """Doubt the streams that end in an answer to the request before their known end."""
        for stream, tail in tails:
            if end < tail and stream in self._of_path(path):
                stream.doubt(is_shorter=True)
        if self._lost:  # seldom
            self._lost.tell_all(path, end, self.clock())

    def heard(self, fetch: SharedFetch) -> Callable[[], Awaitable[None]] | None:
        """Return what a read waits for that goes on what readers have, or None.

        That is a comparison, where the server that has begun to answer is not known to have it:
        another one than before, or one that has failed since.
        """
        start, at_path = fetch.request.start, self._of_path(fetch.request.read.path)
        if not at_path and start in {BEGINNING, NOW}:
            return None
        try:
            unsure = self._unsure(self._followed(fetch, at_path), fetch)
        except HeadgateError:  # as many are followed as may be
            return self._refuse
        for stream in unsure:
            if not stream.trust.is_in_doubt:  # else a comparison would be begun anew by each read
                stream.doubt()
            stream.trust.hurry()
        if not unsure or start in {BEGINNING, NOW}:
            return None
        return partial(self._until_sure, unsure, fetch)

    def _followed(
        self, fetch: SharedFetch, at_path: Sequence[FollowedStream]
    ) -> list[FollowedStream]:
        """Return the streams that a read is of, one followed from now on if need be.

        Raises HeadgateError where that may not be followed.
        """
        request, key = fetch.request, fetch.request.stream_key
        streams = [one for one in at_path if one.key == key and one.trust.can_be_compared]
        while not streams and request.start not in {BEGINNING, NOW}:
            read = self.newest_reads.unlike(key, request.start, fetch.server)
            if read is None:
                break
            try:
                streams = [self._follow(request, read)]
            except StreamGone:  # who has read as far is refused already
                self.newest_reads.drop(key, read)
        return streams

    def _unsure(self, streams: list[FollowedStream], fetch: SharedFetch) -> list[FollowedStream]:
        """Return those of which it has to be known first whether they are what a reader has."""
        start, server = fetch.request.start, fetch.server
        unsure = [one for one in streams if not one.trust.is_sure_of(server, start)]
        is_theirs = any(one.trust.knows(start) for one in unsure)
        is_known = not is_theirs and any(one.trust.knows(start) for one in streams)
        read = None
        if start not in {BEGINNING, NOW}:
            key = fetch.request.stream_key
            read = self.newest_reads.unlike(key, start, server, is_known=is_known)
        if read is not None:
            return streams
        return [] if is_known else unsure

    def begun(self, stream: FollowedStream, server: str) -> None:
        """Have a stream compared that is followed from now on, if not only `server` has told of it.

        Readers may come with offsets of another stream that this one has as well.
        """
        if any(read.server != server for read in self.newest_reads.of(stream.key)):
            stream.doubt()
            stream.trust.hurry()

    async def _refuse(self) -> None:
        raise OriginBusy(UNSURE, RETRY_S)

    async def _until_sure(self, streams: list[FollowedStream], fetch: SharedFetch) -> None:
        """Wait for comparisons. Raises OriginBusy, and StreamGone for who has what is lost."""
        request, now = fetch.request, asyncio.get_running_loop().time
        until, unsure, key = now() + LONGEST_COMPARISON_S, streams, request.stream_key
        read = self.newest_reads.unlike(key, request.start, fetch.server)
        while unsure:
            for stream in unsure:
                await stream.trust.compared(until - now())
            is_lost = read is not None and self.newest_reads.up_to(key, read.end) is None
            if is_lost or self.refuses(key, request.start):
                raise StreamGone(ANOTHER_STREAM)
            unsure = self._unsure(streams, fetch)
            followed = self._of_path(request.path)
            # Another doubt may have arisen since the end of a comparison.
            is_asked = all(one.trust.is_in_doubt and one in followed for one in unsure)
            if unsure and (now() >= until or not is_asked):
                raise OriginBusy(UNSURE, RETRY_S)
            for stream in unsure:
                stream.trust.hurry()

    def is_of(self, stream: FollowedStream, offset: str) -> bool:
        """Return whether who has read up to an offset may go on with what is known of a stream."""
        read = self.newest_reads.up_to(stream.key, offset)
        is_alike = read is None or stream.trust.is_told_by(read.server)
        return is_alike and not self.refuses(stream.key, offset)

    def replaced(self, path: str, tails: Tails | None) -> None:
        """Let go these streams, because another stream was created at their path.

        Without `tails`, as for a creation through another worker, compare the streams instead.
        """
        self.newest_reads.doubt(path)
        for stream in self._of_path(path):
            if tails is None:
                stream.doubt()
            elif any(one is stream for one, _ in tails):
                stream.let_go(StreamGone(ANOTHER_STREAM))

    def deleted(self, path: str, *, for_all: bool) -> None:
        """Refuse what was read of a stream that is no more, or none `for_all` without identity."""
        for key in self.newest_reads.keys_of(path):
            if for_all or not key[3]:
                ends = self.newest_reads.take(key)
                if ends:  # those of the next stream may be the same, and its readers are here first
                    self._lost.lose(key, "", max(ends), frozenset(), self.clock())

    def note(self, fetch: SharedFetch, fetched: Fetched | None, *, is_of_now: bool) -> None:
        """Note what a read has told its readers; one of the past may be of another stream."""
        whole = fetched or fetch.told
        if whole is not None and whole.how is not STOOD_IN:
            request = fetch.request
            server = fetch.server if is_of_now and not fetch.of_the_past else unknown_server()
            at_path = self._of_path(request.read.path)
            in_doubt = bool(at_path) and any(
                one.trust.is_in_doubt for one in at_path if one.key == request.stream_key
            )
            self.newest_reads.note(request, whole.cached, server, in_doubt=in_doubt)

    def rest(self, stream: FollowedStream) -> None:
        """Keep what tells the newest data of a stream from others that is followed no more."""
        evidence = stream.trust.evidence
        if evidence is None:
            return
        read = self.newest_reads.up_to(stream.key, evidence.end)
        if stream.trust.is_in_doubt or read is None or stream.trust.is_told_by(read.server):
            self.newest_reads.add(stream.key, evidence)

    def lose(self, stream: FollowedStream, common: str, held: frozenset[str]) -> None:
        """Refuse offsets of a lost stream to clients that come back with them."""
        key = stream.request.stream_key
        end = stream.known_end
        if not stream.has_tail:  # somebody made it up, and the origin echoed it
            self._lost.lose_echoed(key, end, self.clock())
            return
        past = self.newest_reads.drop_beyond(key, end)  # a read may have gone past the feed
        self._lost.lose(key, common, max(past | {end}), held | past, self.clock())
        for other in self._of_path(key[1]):
            if other is not stream and other.key == key:  # whose readers are not to be sent away
                for offset in other.trust.offsets:
                    self._lost.tell(key, offset)

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

    def seen(self, stream: FollowedStream, offset: str) -> None:
        """Note an offset of the present stream."""
        if self._lost:
            self._lost.tell(stream.request.stream_key, offset)
