"""The latest news of a followed stream, and how far apart the offsets in them are.

Offsets of an origin cannot be computed with. But whoever has read a stream from one offset to
another knows what lies between, so readers who stand amid a piece of news can be given the rest
of it, and need not ask the origin.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import HeadgateError
from gateway.protocol.content import is_json, json_messages
from gateway.protocol.followed import Span, is_whole, joined
from gateway.protocol.offsets import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.live.budget import Budget

WINDOW_BYTES = 1 << 20  # news kept for those who are a little behind
MAX_KNOWN = 256  # offsets whose place is known: those of the news, and where readers came to
LONGEST_COUNTED = 256 << 10  # bytes of JSON that are taken apart only to count its messages


class _Piece(NamedTuple):
    span: Span
    begin: int


class Window:
    """Places are counted in bytes, or in messages where the stream is JSON."""

    def __init__(self, content_type: str, tail: str, budget: Budget) -> None:
        self._content_type = content_type
        self._budget = budget
        self._tail = tail
        self._pieces: deque[_Piece] = deque()
        self._bytes = 0
        self._places: dict[str, int] = {tail: 0}
        self._ended = False

    def __len__(self) -> int:
        return self._bytes

    def append(self, span: Span) -> None:
        """Add what follows the tail."""
        begin = self._places[self._tail]
        self._know(self._tail, begin)  # those who were up to date come from there next
        self._pieces.append(_Piece(span, begin))
        self._bytes += len(span.body)
        while self._bytes > WINDOW_BYTES:
            self._bytes -= len(self._pieces.popleft().span.body)
        self._tail = span.end
        self._know(span.end, begin + self._length(span.body))
        self._budget.take(self, self._bytes)

    @property
    def last(self) -> Span | None:
        """The latest piece of news, if it is at hand."""
        return self._pieces[-1].span if self._pieces else None

    def agrees(self, body: bytes) -> bool:
        """Whether what is read from where the latest piece begins is that piece, or goes on."""
        last = b"" if self.last is None else self.last.body
        if not is_json(self._content_type):
            return body.startswith(last)
        messages = self._messages(last)
        return list(self._messages(body))[: len(messages)] == list(messages)

    def clear(self) -> None:
        """Keep no news; those that come are kept again."""
        self._pieces.clear()
        self._bytes = 0

    def end(self) -> None:
        """Nobody follows the stream any more."""
        self._ended = True
        self.clear()
        self._budget.take(self, 0)

    def learn(self, start: str, end: str, body: bytes) -> None:
        """Take note of where `end` is, or `start`, of which somebody has read what is between."""
        begin, stop = self._places.get(start), self._places.get(end)
        if self._ended or (begin is None) is (stop is None):
            return
        if not self._is_counted(body):
            return
        length = self._length(body)
        if begin is not None:
            self._know(start, begin)  # used again
            self._know(end, begin + length)
        elif stop is not None:
            self._know(start, stop - length)
            self._extend(_Piece(Span(start, end, body), stop - length), stop)

    def contradicts(self, start: str, end: str, body: bytes) -> bool:
        """Whether what somebody read cannot be of this stream.

        Between the same offsets lie other data, or so many that the order of offsets forbids it.
        """
        begin, stop = self._places.get(start), self._places.get(end)
        if (begin is None and stop is None) or not self._is_counted(body):
            return False
        length = self._length(body)
        if begin is None:
            begin = (stop or 0) - length
        if stop not in {None, begin + length}:
            return True
        stop = begin + length
        if not (self._is_in_order(start, begin) and self._is_in_order(end, stop)):
            return True
        return any(self._differs(piece, begin, stop, body) for piece in self._pieces)

    def _is_in_order(self, offset: str, place: int) -> bool:
        return all(
            at <= place if known < offset else at >= place
            for known, at in self._places.items()
            if BEGINNING not in {known, offset} and known != offset
        )

    def _differs(self, piece: _Piece, begin: int, stop: int, body: bytes) -> bool:
        """Whether a piece has other data than were read between two places, where both have any."""
        news = piece.span.body
        if piece.begin >= stop or not self._is_counted(news):
            return False
        end = min(stop, piece.begin + self._length(news))
        start = max(begin, piece.begin)
        if start >= end:
            return False
        one, other = self._units(news), self._units(body)
        mine = one[start - piece.begin : end - piece.begin]
        return mine != other[start - begin : end - begin]

    def _is_counted(self, body: bytes) -> bool:
        """Whether a body's places can be told, at little cost."""
        if is_json(self._content_type) and len(body) > LONGEST_COUNTED:
            return False
        return is_whole(self._content_type, body)

    def _extend(self, older: _Piece, end: int) -> None:
        """Let what somebody read from further back take the place of what it covers."""
        tail = self._places[self._tail]
        begin = self._pieces[0].begin if self._pieces else tail
        if older.begin >= begin or not begin <= end <= tail:
            return
        pieces = [older, *self._after(older.span.end, end)]
        size = sum(len(piece.span.body) for piece in pieces)
        if size <= WINDOW_BYTES:
            self._pieces = deque(pieces)
            self._bytes = size
            self._budget.take(self, size)

    def _after(self, offset: str, place: int) -> list[_Piece]:
        """The news from a place on, the piece that it lies in cut there."""
        found = []
        for piece in self._pieces:
            if piece.begin >= place:
                found.append(piece)
            elif piece.begin + self._length(piece.span.body) > place:
                rest = self._rest(piece.span.body, place - piece.begin)
                found.append(_Piece(Span(offset, piece.span.end, rest), place))
        return found

    def since(self, offset: str) -> Span | None:
        """The news after an offset as one span, where they are still at hand."""
        place = self._places.get(offset)
        if place is None or place >= self._places[self._tail]:
            return None  # of what lies ahead of the tail, news are to come
        spans = [piece.span for piece in self._after(offset, place)]
        if not spans or spans[0].start != offset:
            return None  # too old
        return joined(self._content_type, spans)

    def _know(self, offset: str, place: int) -> None:
        self._places.pop(offset, None)
        self._places[offset] = place
        if len(self._places) > MAX_KNOWN:
            oldest = next(known for known in self._places if known != self._tail)
            del self._places[oldest]

    def _length(self, body: bytes) -> int:
        return len(self._units(body))

    def _units(self, body: bytes) -> Sequence[bytes] | memoryview:
        return self._messages(body) if is_json(self._content_type) else memoryview(body)

    def _rest(self, body: bytes, skipped: int) -> bytes:
        if not is_json(self._content_type):
            return body[skipped:]
        return b"[" + b",".join(self._messages(body)[skipped:]) + b"]"

    @staticmethod
    def _messages(body: bytes) -> Sequence[bytes]:
        try:
            return json_messages(body)
        except HeadgateError:  # an origin's own idea of JSON: counted as one
            return [body]
