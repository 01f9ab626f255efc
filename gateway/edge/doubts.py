"""Doubts of followed streams that other answers give rise to: a stream got shorter, or another."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.cache.replica_lag import ANOTHER_STREAM
from gateway.edge.newest_reads import NewestReads
from gateway.edge.poller import UNSURE
from gateway.errors import OriginBusy, StreamGone
from gateway.protocol.offsets import BEGINNING, NOW

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from gateway.cache.cached_response import CacheRequest
    from gateway.cache.fetch import SharedFetch
    from gateway.cache.lost_offsets import LostOffsets, StreamKey
    from gateway.edge.comparison import Evidence
    from gateway.edge.followed_stream import FollowedStream

    # Followed streams, each with how far it is known to go.
    Tails: TypeAlias = "tuple[tuple[FollowedStream, str], ...]"


class OtherReads(NamedTuple):
    """The reads of one stream by clients that its feed may not serve yet."""

    doubts: Doubts
    key: StreamKey

    def reads(self) -> list[Evidence]:
        """Return the evidence of each read, the latest last."""
        return self.doubts.newest_reads.of(self.key)

    def lose_read(self, common: str, read: Evidence) -> None:
        """Refuse offsets of a read that lie beyond `common`: the stream has that part no more."""
        self.doubts.lose_read(self.key, common, read)


class Doubts:
    """The doubts of one route; `of_path` finds the followed streams of a path."""

    def __init__(
        self,
        of_path: Callable[[str], Sequence[FollowedStream]],
        lost: LostOffsets,
        clock: Callable[[], float],
    ) -> None:
        self.newest_reads = NewestReads()
        self._of_path = of_path
        self._lost = lost
        self._clock = clock

    def tails(self, path: str) -> Tails:
        """Return the streams that are followed at a path, before a request for it goes out."""
        return tuple([(stream, stream.known_end) for stream in self._of_path(path)])

    def answered(self, path: str, tails: Tails, end: str) -> None:
        """Doubt the streams that end in an answer to the request before their known end."""
        for stream, tail in tails:
            if end < tail and stream in self._of_path(path):
                stream.suspect()
        self._lost.tell_all(path, end, self._clock())

    def heard(self, fetch: SharedFetch) -> None:
        """Doubt a followed stream if a read is answered by another server than its feed's.

        Raises OriginBusy for a client that reads on before the origin was compared: the new server
        may not have the data before its offset.
        """
        at_path = self._of_path(fetch.request.path)
        if not at_path:  # the usual case
            return
        key, start = fetch.request.stream_key, fetch.request.start
        streams = [one for one in at_path if one.key == key]
        if not streams or any(one.is_sure_of(fetch.server, start) for one in streams):
            return
        for stream in streams:
            if not stream.is_in_doubt:
                stream.suspect(is_shorter=False)
        if start not in {BEGINNING, NOW}:
            raise OriginBusy(UNSURE)

    def replaced(self, path: str, tails: Tails | None) -> None:
        """Let go these streams, because another stream was created at their path.

        Without `tails`, as for a creation through another worker, compare the streams instead.
        """
        for stream in self._of_path(path):
            if tails is None:
                stream.suspect()
            elif any(one is stream for one, _ in tails):
                stream.let_go(StreamGone(ANOTHER_STREAM))

    def lose(self, stream: FollowedStream, common: str, held: frozenset[str]) -> None:
        """Refuse offsets of a lost stream to clients that come back with them."""
        key = stream.request.stream_key
        end = stream.known_end
        past = self.newest_reads.drop_beyond(key, end)  # a read may have gone past the feed
        self._lost.lose(key, common, max(past | {end}), held | past, self._clock())

    def refuses(self, key: StreamKey, offset: str) -> bool:
        """Return whether an offset may be of a lost stream."""
        return bool(self._lost) and self._lost.refuses(key, offset, self._clock())

    def others(self, request: CacheRequest) -> OtherReads:
        """Return the reads of a stream by clients that its feed did not serve."""
        return OtherReads(self, request.stream_key)

    def lose_read(self, key: StreamKey, common: str, read: Evidence) -> None:
        """Refuse the end of a read whose data are lost."""
        self.newest_reads.drop(key, read)
        self._lost.lose(key, common, read.end, frozenset({read.end}), self._clock())

    def seen(self, stream: FollowedStream, offset: str) -> None:
        """Note an offset of the present stream."""
        if self._lost:
            self._lost.tell(stream.request.stream_key, offset)
