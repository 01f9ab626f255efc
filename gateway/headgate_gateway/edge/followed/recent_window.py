"""The latest news of a followed stream, and the distances between the offsets in them.

An origin's offsets are opaque: they tell no distance. But a read from one offset to another shows
what lies between them. So a reader whose offset is inside a piece of news can be sent the rest of
it, without a request to the origin.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import OrderedDict
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple

from msgspec.structs import replace

from headgate_gateway.edge.followed.comparison import (
    COMPARED_BYTES,
    evidence_of,
    is_cheap,
    is_counted,
    rest_of,
    units_of,
)
from headgate_gateway.protocol.streams.offsets import BEGINNING
from headgate_gateway.rules.followed import Span, is_whole, joined

if TYPE_CHECKING:
    from headgate_gateway.edge.followed.comparison import Evidence, Known, Units

WINDOW_BYTES = 1 << 20  # news for readers that are a little behind
MAX_PIECES = 1024  # of news; to go through them all takes a millisecond
MAX_KNOWN = 256  # offsets with known distances: those of the news, and of reads


class _Piece(NamedTuple):
    span: Span
    first_unit: int
    end: int


class RecentWindow:
    """The latest news of one stream, and the `distances` of the offsets in them.

    A distance counts bytes, or messages of a JSON stream, from an offset whose distance is 0. The
    `tail` and the latest MAX_KNOWN offsets have known distances. News that are too long to count,
    or to store, are in memory until others come; later distances begin again at 0.
    """

    def __init__(self, content_type: str, tail: str, budget: WindowBudget) -> None:
        self._content_type = content_type
        self._budget = budget
        self._pieces: list[_Piece] = []
        self._bytes = 0
        self._long: Span | None = None  # the latest news, if they are too long to be a piece
        self.tail = tail
        self.distances = {tail: 0}
        self._closed = False
        # Of the latest news if they are not in memory: the origin is compared with it.
        self.evidence: Evidence | None = None

    def __len__(self) -> int:
        return self._bytes

    def append(self, span: Span) -> None:
        """Add the news that follow the tail."""
        if self._long is not None:
            self.clear()
        if len(span.body) > WINDOW_BYTES or not is_cheap(self._content_type, span.body):
            self.clear()
            self._long, self._bytes = span, len(span.body)
            self.tail, self.distances = span.end, {span.end: 0}
        else:
            self._append(span)
        self._budget.set_size(self, self._bytes)

    def _append(self, span: Span) -> None:
        begin = self.distances[self.tail]
        self._note_distance(self.tail, begin)  # readers that were up to date come from there next
        piece = _Piece(span, begin, begin + len(units_of(self._content_type, span.body)))
        self._pieces.append(piece)
        self._bytes += len(span.body)
        dropped = 0
        while self._bytes > WINDOW_BYTES or len(self._pieces) - dropped > MAX_PIECES:
            self._bytes -= len(self._pieces[dropped].span.body)
            dropped += 1
        del self._pieces[:dropped]
        self.tail = span.end
        self._note_distance(span.end, piece.end)

    def _note_distance(self, offset: str, distance: int) -> None:
        """Note a distance, and drop that of the offset noted the longest ago beyond the limit."""
        self.distances.pop(offset, None)
        self.distances[offset] = distance
        if len(self.distances) > MAX_KNOWN:
            del self.distances[next(known for known in self.distances if known != self.tail)]

    @property
    def last(self) -> Span | None:
        """The latest piece of news, if it is in memory."""
        return self._pieces[-1].span if self._pieces else self._long

    @property
    def newest(self) -> Known | None:
        """The newest data before the tail, to compare an origin with; None if none are known.

        These are the last pieces up to COMPARED_BYTES together, and at least one piece.
        """
        if self._long is not None:
            return self._long
        spans = [piece.span for piece in self._pieces]
        size, first = 0, len(spans)
        while first and (
            first == len(spans) or size + len(spans[first - 1].body) <= COMPARED_BYTES
        ):
            first -= 1
            size += len(spans[first].body)
        known = joined(self._content_type, spans[first:]) if spans else self.evidence
        return known if known is not None and known.end == self.tail else None

    def evidence_by(self, server: str) -> Evidence | None:
        """Return evidence of the newest data, as sent by a server; None if none are known."""
        known = self.newest
        if isinstance(known, Span):
            return evidence_of(self._content_type, known, server)
        return None if known is None else replace(known, server=server)

    def offsets_beyond(self, start: str, common: int) -> tuple[str, frozenset[str]]:
        """Return the offsets that readers may hold, split at `common` units after `start`.

        The result is the last offset up to there, "" if none is known, and the set of all offsets
        beyond. Without a common unit no offset is known to be before the split.
        """
        begin = self.distances.get(start)
        until = None if begin is None or not common else begin + common
        within, beyond = {""}, {self.tail}
        offsets = dict(self.distances)
        for span, at, end in self._pieces:
            offsets[span.start], offsets[span.end] = at, end
        for offset, distance in offsets.items():
            is_within = until is not None and distance <= until
            (within if is_within else beyond).add(offset)
        beyond -= {BEGINNING, *within}
        return max(within - {BEGINNING}), frozenset(beyond)

    def clear(self) -> None:
        """Drop the news; later ones are stored again."""
        self._pieces.clear()
        self._long = None
        self._bytes = 0

    def evict(self) -> None:
        """Drop the news, and keep evidence of the latest of them."""
        if self.last is not None:
            self.evidence = evidence_of(self._content_type, self.last)
        self.clear()

    def close(self) -> None:
        """Drop the news for good: the stream is no longer followed."""
        self._closed = True
        self.clear()
        self._budget.set_size(self, 0)

    def learn(self, start: str, end: str, body: bytes) -> None:
        """Note the distance of `start` or `end` from the other's, by a read of the data between."""
        begin, stop = self.distances.get(start), self.distances.get(end)
        if self._closed or (begin is None) is (stop is None):
            return
        if not is_counted(self._content_type, body):
            return
        length = len(units_of(self._content_type, body))
        if begin is not None:
            self._note_distance(start, begin)  # used again
            self._note_distance(end, begin + length)
        elif stop is not None:
            self._note_distance(start, stop - length)
            self._extend(_Piece(Span(start, end, body), stop - length, stop))

    def contradicts(self, start: str, end: str, body: bytes) -> bool:
        """Return whether a read cannot be of this stream.

        It has other data between the same offsets, or so many that the order of offsets forbids it.
        """
        begin, stop = self.distances.get(start), self.distances.get(end)
        if (begin is None and stop is None) or not is_counted(self._content_type, body):
            return False
        length = len(units_of(self._content_type, body))
        if begin is None:
            begin = (stop or 0) - length
        if stop not in {None, begin + length}:
            return True
        stop = begin + length
        if not (self._is_in_order(start, begin) and self._is_in_order(end, stop)):
            return True
        units = units_of(self._content_type, body)
        return any(self._differs(piece, begin, stop, units) for piece in self._pieces)

    def _is_in_order(self, offset: str, distance: int) -> bool:
        """Return whether offsets sort as their distances do if `offset` is at `distance`."""
        return all(
            at <= distance if known < offset else at >= distance
            for known, at in self.distances.items()
            if BEGINNING not in {known, offset} and known != offset
        )

    def _differs(self, piece: _Piece, first_unit: int, stop: int, body: Units) -> bool:
        """Return whether a piece and a read between two distances differ where they overlap."""
        end = min(stop, piece.end)
        start = max(first_unit, piece.first_unit)
        if start >= end or not is_whole(self._content_type, piece.span.body):
            return False
        mine = units_of(self._content_type, piece.span.body)[
            start - piece.first_unit : end - piece.first_unit
        ]
        return mine != body[start - first_unit : end - first_unit]

    def _extend(self, older: _Piece) -> None:
        """Add data that a client read from further back, in distance of the pieces they cover."""
        if self._long is not None:
            return
        tail = self.distances[self.tail]
        begin = self._pieces[0].first_unit if self._pieces else tail
        if older.first_unit >= begin or not begin <= older.end <= tail:
            return
        pieces = [older, *self._after(older.span.end, older.end)]
        size = sum(len(piece.span.body) for piece in pieces)
        if size <= WINDOW_BYTES and len(pieces) <= MAX_PIECES:
            self._pieces = pieces
            self._bytes = size
            self._budget.set_size(self, size)

    def _after(self, offset: str, distance: int) -> list[_Piece]:
        """Return the pieces from a distance on; the one around it is cut there."""
        at = bisect_left(self._pieces, distance, key=attrgetter("first_unit"))
        found = self._pieces[at:]
        if at and self._pieces[at - 1].end > distance:
            span, begin, end = self._pieces[at - 1]
            rest = rest_of(self._content_type, span.body, distance - begin)
            found.insert(0, _Piece(Span(offset, span.end, rest), distance, end))
        return found

    def since(self, offset: str) -> Span | None:
        """Return the news after an offset as one span, or None if they are not in memory."""
        distance = self.distances.get(offset)
        if distance is None or distance >= self.distances[self.tail]:
            return None  # beyond the tail: the news are still to come
        pieces = self._after(offset, distance)
        if not pieces or pieces[0].first_unit != distance:
            return None  # too old
        news = joined(self._content_type, [piece.span for piece in pieces])
        return news._replace(start=offset)  # the beginning has two offsets


class WindowBudget:
    """The memory for the windows of a route; the one without news for longest is cleared first.

    `bytes` is what all of them hold.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[RecentWindow, int] = OrderedDict()
        self.bytes = 0

    def set_size(self, window: RecentWindow, size: int) -> None:
        """Note how many bytes a window holds now, and clear others beyond the limit."""
        self.bytes += size - self._sizes.pop(window, 0)
        if size:
            self._sizes[window] = size
        while self.bytes > self._max_bytes:
            oldest, freed = self._sizes.popitem(last=False)
            self.bytes -= freed
            oldest.evict()
