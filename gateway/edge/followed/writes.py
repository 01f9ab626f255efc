"""Writes through this gateway, as the followed streams of a route learn of them."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.edge.rules.lost_offsets import ANOTHER_STREAM
from gateway.errors import StreamGone, StreamNotFound
from gateway.protocol.streams.reach import TailBound

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TypeAlias

    from gateway.edge.followed.evidence import StreamEvidence
    from gateway.edge.followed.followed_stream import FollowedStream
    from gateway.edge.followed.followed_table import FollowedTable

    # Followed streams, each with its expected end.
    Tails: TypeAlias = "tuple[tuple[FollowedStream, str], ...]"


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
        self._deleting: Counter[str] = Counter()  # DELETEs under way, by path

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
        self._deleting[path] += 1
        try:
            yield
        finally:
            self._deleting -= Counter([path])

    def is_deleting(self, path: str) -> bool:
        """Return whether a DELETE of a path is at the origin."""
        return path in self._deleting

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
        if self._evidence.lost:  # seldom
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
        self._evidence.doubt(path)
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

    def ask_all_anew(self) -> None:
        """Ask anew where each stream ends, since writes were missed."""
        for stream in tuple(self._table.by_key.values()):
            stream.ask_anew()
