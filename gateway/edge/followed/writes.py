"""Writes through this gateway, as the followed streams of a route learn of them."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import StreamNotFound
from gateway.protocol.streams.reach import TailBound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.edge.followed.followed_table import FollowedTable
    from gateway.edge.followed.stream_evidence import StreamEvidence


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

    def on_write(self, path: str, reach: TailBound) -> None:
        """Note a write through this gateway: feeds do not know the tail until a poll reports it."""
        for stream in self._table.of_path(path):
            stream.note_write(reach)
        beginning = self._beginnings.get(path)
        if beginning is not None:
            beginning.written = beginning.written.together(reach)

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

    def on_delete(self, path: str, *, for_all: bool) -> None:
        """End the feeds of a stream that was deleted through this gateway.

        If it is not gone `for_all`, clients with an identity may see another stream there.
        """
        for stream in self._table.of_path(path):
            if for_all or not stream.lenders.request.identity:
                stream.let_go(StreamNotFound("the stream was deleted"))
        self._evidence.on_deleted(path, for_all=for_all)
        beginning = self._beginnings.get(path)
        if beginning is not None:
            beginning.written = TailBound()  # the writes were to the deleted stream

    def ask_all_anew(self) -> None:
        """Ask anew where each stream ends, since writes were missed."""
        for stream in tuple(self._table.by_key.values()):
            stream.ask_anew()
