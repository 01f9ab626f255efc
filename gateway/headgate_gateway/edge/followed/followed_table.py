"""The followed streams of a route, and the writes through this gateway that they learn of."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from headgate_gateway.errors import StreamGone, StreamNotFound
from headgate_gateway.protocol.streams.offsets import TailBound
from headgate_gateway.rules.cached_response import stream_key
from headgate_gateway.rules.read_rules import ANOTHER_STREAM

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator
    from typing import TypeAlias

    from headgate_gateway.edge.followed.evidence import StreamEvidence
    from headgate_gateway.edge.followed.followed_stream import FollowedStream
    from headgate_gateway.protocol.requests import CatchUp
    from headgate_gateway.rules.cached_response import StreamKey
    from headgate_gateway.rules.followed import Snapshot

    # Followed streams, each with its expected end.
    Tails: TypeAlias = "tuple[tuple[FollowedStream, str], ...]"


class FollowedTable:
    """The followed streams of a route, by their keys and by their paths.

    A stream that was set aside, since new readers have another one with its key, is found by its
    path only.
    """

    def __init__(self) -> None:
        self.by_key: dict[Hashable, FollowedStream] = {}
        self.by_path: dict[str, set[FollowedStream]] = {}
        self.is_empty = asyncio.Event()
        self.is_empty.set()

    def __contains__(self, stream: FollowedStream) -> bool:
        return stream in self.by_path.get(stream.path, ())

    def __iter__(self) -> Iterator[FollowedStream]:
        """Iterate over a copy, so that streams may come and go meanwhile."""
        return iter([stream for streams in self.by_path.values() for stream in streams])

    def is_tail(self, host: str, read: CatchUp, offset: str) -> bool:
        """Return whether the stream that everybody reads is known to end at an offset."""
        stream = self.by_key.get(stream_key(host, read, ""))
        return stream is not None and stream.state.knows_tail(offset)

    def of_path(self, path: str) -> list[FollowedStream]:
        """Return the followed streams at a path: some readers may have one of their own."""
        return list(self.by_path.get(path, ()))

    def of_key(self, key: StreamKey) -> list[FollowedStream]:
        """Return the followed streams with a key: one that was set aside, too."""
        return [one for one in self.by_path.get(key[1], ()) if one.key == key]

    def verified(self, key: Hashable, snapshot: Snapshot, *, ends: bool) -> FollowedStream | None:
        """Return the followed stream; None if a read, which perhaps `ends`, shows it to be gone."""
        stream = self.by_key.get(key)
        return stream if stream is not None and stream.verify(snapshot, ends=ends) else None

    def overtake(self, key: StreamKey, end: str) -> None:
        """Note that the newest data of a stream, up to `end`, have arrived.

        Feeds of other identities do not say that they are up to date until they are asked anew.
        """
        for stream in self.of_path(key[1]):
            if stream.key[:3] == key[:3] and stream.key != key:
                stream.state.overtake(end)

    def add(self, stream: FollowedStream) -> None:
        """Add a stream to both tables: nothing in between may raise."""
        self.by_key[stream.key] = stream
        self.by_path.setdefault(stream.path, set()).add(stream)
        self.is_empty.clear()

    def remove(self, stream: FollowedStream) -> bool:
        """Remove a stream, which may have been set aside; return False if it was removed before."""
        if self.by_key.get(stream.key) is stream:
            del self.by_key[stream.key]
        others = self.by_path.get(stream.path, set())
        if stream not in others:
            return False
        others.discard(stream)
        if not others:
            del self.by_path[stream.path]
        if not self.by_path:
            self.is_empty.set()
        return True


@dataclass(slots=True)
class PendingReads:
    """Reads of one path that may end with its stream being followed, and the writes since then."""

    reads: int = 0
    written: TailBound = field(default_factory=TailBound)


class FollowedWrites:
    """The writes through this gateway to streams that are followed, or are to be followed now.

    Nothing else notices a write between the origin's response to a read and the moment when the
    stream is followed from the end of that read.
    """

    def __init__(self, table: FollowedTable, evidence: StreamEvidence) -> None:
        self._table = table
        self._evidence = evidence
        self._beginnings: dict[str, PendingReads] = {}  # by path; at most one for each live reader
        self.deletions: Counter[str] = Counter()  # DELETEs under way, by path

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Note writes at a path during a read that may end with the stream being followed."""
        beginning = self._beginnings.setdefault(path, PendingReads())
        beginning.reads += 1
        try:
            yield
        finally:
            beginning.reads -= 1
            if not beginning.reads:
                del self._beginnings[path]

    def since(self, path: str) -> TailBound | None:
        """Return how far writes reach since the reads of a path began; None without such reads."""
        beginning = self._beginnings.get(path)
        return None if beginning is None else beginning.written

    @contextmanager
    def deleting(self, path: str) -> Iterator[None]:
        """Note that a DELETE is at the origin, which may refuse a poll before it answers."""
        self.deletions[path] += 1
        try:
            yield
        finally:
            self.deletions -= Counter([path])

    # What the answers to writes show

    def tails(self, path: str) -> Tails:
        """Return the streams that are followed at a path, before a request for it goes out."""
        streams = self._table.by_path.get(path)
        return tuple([(stream, stream.state.expected_end) for stream in streams]) if streams else ()

    def note_answer(self, path: str, tails: Tails, end: str) -> None:
        """Doubt the streams that an answer shows to end before their expected end."""
        for stream, tail in tails:
            if end < tail and stream in self._table.of_path(path):
                stream.doubt(is_shorter=True)
        if self._evidence.lost.by_stream:  # seldom
            self._evidence.lost.note_for_all(path, end, self._evidence.clock())

    def on_write(self, path: str, reach: TailBound) -> None:
        """Note a write through this gateway: feeds do not know the tail until a poll reports it."""
        if path in self._table.by_path:
            for stream in self._table.of_path(path):
                stream.note_write(reach)
        beginning = self._beginnings.get(path)
        if beginning is not None:
            beginning.written = beginning.written.together(reach)

    def on_replaced(self, path: str, tails: Tails | None) -> None:
        """Let go these streams, because another stream was created at their path.

        Without `tails`, as for a creation through another worker, compare the streams instead.
        """
        for one in self._table.of_path(path):
            if tails is None:
                one.doubt()
            elif any(known is one for known, _ in tails):
                one.end(StreamGone(ANOTHER_STREAM), is_expected=True)

    def on_delete(self, path: str, *, for_all: bool) -> None:
        """End the feeds of a stream that was deleted through this gateway.

        If it is not gone `for_all`, clients with an identity may see another stream there.
        """
        for stream in self._table.of_path(path):
            if for_all or not stream.requests.current.identity:
                stream.end(StreamNotFound("the stream was deleted"), is_expected=True)
        self._evidence.lose_all(path, for_all=for_all)
        beginning = self._beginnings.get(path)
        if beginning is not None:
            beginning.written = TailBound()  # the writes were to the deleted stream

    def start_all_over(self) -> None:
        """Ask the origin again where each stream ends: anything may have been written.

        A poll that is under way is cut, since its answer may be older than these writes.
        """
        for stream in tuple(self._table.by_key.values()):
            if stream.feed.closed or stream.polls is None:
                stream.end(StreamGone(ANOTHER_STREAM), is_expected=True)  # or another one
            else:
                stream.state.mark_behind()
                stream.doubt()
