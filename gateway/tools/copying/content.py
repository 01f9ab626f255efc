"""The content of a source, which is compared with a destination's, and then appended there."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from gateway.tools.copying.contract import ContentPart, StreamRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

LONGEST_CHARACTER = 4  # bytes of UTF-8
LONGER = "the stream that is there already has more than the source"
OTHER = "the stream that is there already has other content than the source"


class SourceContent:
    """The content of a source from one offset on; one page and one append of it are in memory."""

    def __init__(
        self, pages: AsyncGenerator[Sequence[ContentPart]], most_bytes: int, *, is_json: bool
    ) -> None:
        """`take` returns at most `most_bytes`; only a single JSON message may be longer."""
        self._pages = pages
        self._most_bytes = most_bytes
        self._is_json = is_json
        self._next: deque[ContentPart] = deque()
        # The offset after what was compared or appended; None if no server has named it.
        self.offset: str | None = None

    async def close(self) -> None:
        """Stop reading."""
        await self._pages.aclose()

    async def skip(self, pieces: Sequence[ContentPart]) -> None:
        """Skip what the destination has. Raises StreamRefused if the source has other data."""
        for piece in pieces:
            if self._is_json:
                await self._skip_message(piece.data)
            else:
                await self._skip_bytes(piece.data)

    async def _skip_message(self, data: bytes) -> None:
        found = await self._first()
        if found is None:
            raise StreamRefused(LONGER)
        if not is_same_message(found.data, data):
            raise StreamRefused(OTHER)
        self._taken(found)

    async def _skip_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            found = await self._first()
            if found is None:
                raise StreamRefused(LONGER)
            size = min(len(rest), len(found.data))
            if rest[:size] != memoryview(found.data)[:size]:
                raise StreamRefused(OTHER)
            rest = rest[size:]
            self._taken(found)
            if size < len(found.data):
                self._next.appendleft(ContentPart(found.data[size:], found.offset))
                self.offset = None

    async def take(self) -> list[ContentPart]:
        """Return the next pieces, at least one, for an append; [] at the end.

        They are returned again until `drop` is called.
        """
        pieces: list[ContentPart] = []
        size = 0
        while (piece := await self._first()) is not None:
            size += len(piece.data)
            if pieces and size > self._most_bytes:
                break
            pieces.append(self._next.popleft())
        self._next.extendleft(reversed(pieces))
        return pieces

    def drop(self, pieces: Sequence[ContentPart]) -> None:
        """Drop the pieces that `take` returned last: they are at the destination."""
        for piece in pieces:
            self._taken(piece)

    def _taken(self, piece: ContentPart) -> None:
        self._next.popleft()
        self.offset = piece.offset

    async def _first(self) -> ContentPart | None:
        while not self._next:
            page = await anext(self._pages, None)
            if page is None:
                return None
            for part in page:
                self._next += [part] if self._is_json else _cut(part, self._most_bytes)
        return self._next[0]


def _cut(part: ContentPart, most_bytes: int) -> Iterator[ContentPart]:
    """Yield a part in pieces, none of which ends within a character of UTF-8."""
    begin, size = 0, len(part.data)
    while size - begin > most_bytes:
        end = begin + most_bytes
        while end > begin + most_bytes - LONGEST_CHARACTER and part.data[end] & 0xC0 == 0x80:
            end -= 1
        yield ContentPart(part.data[begin:end], None)
        begin = end
    yield ContentPart(part.data[begin:], part.offset)


def is_same_message(one: bytes, other: bytes) -> bool:
    """Return whether two JSON messages mean the same to JavaScript.

    A server may write messages anew: without blanks, and with numbers as JavaScript rounds them.
    """
    return one == other or _rewritten(one) == _rewritten(other)


def _rewritten(message: bytes) -> str:
    """Return a message as text that is equal for equal values; there is no -0 in JavaScript's."""
    value = json.loads(message, parse_int=_number, parse_float=_number)
    return json.dumps(value, sort_keys=True)


def _number(text: str) -> float:
    return float(text) + 0.0
