"""The content of a source, which is compared with a destination's, and then appended there."""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING

from headgate_gateway.tools.copying.contract import StreamRefused

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator, Sequence

LONGEST_CHARACTER = 4  # bytes of UTF-8
LONGER = "the stream that is there already has more than the source"
OTHER = "the stream that is there already has other content than the source"


class SourceContent:
    """The content of a source from one offset on; one page and one append of it are in memory."""

    def __init__(
        self, pages: AsyncGenerator[Sequence[bytes]], most_bytes: int, *, is_json: bool
    ) -> None:
        """`take` returns at most `most_bytes`; only a single JSON message may be longer."""
        self._pages = pages
        self._most_bytes = most_bytes
        self._is_json = is_json
        self._next: deque[bytes] = deque()

    async def close(self) -> None:
        """Stop reading."""
        await self._pages.aclose()

    async def skip(self, pieces: Sequence[bytes]) -> None:
        """Skip what the destination has. Raises StreamRefused if the source has other data."""
        for piece in pieces:
            if self._is_json:
                await self._skip_message(piece)
            else:
                await self._skip_bytes(piece)

    async def _skip_message(self, data: bytes) -> None:
        found = await self._first()
        if found is None:
            raise StreamRefused(LONGER)
        if not is_same_message(found, data):
            raise StreamRefused(OTHER)
        self._next.popleft()

    async def _skip_bytes(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            found = await self._first()
            if found is None:
                raise StreamRefused(LONGER)
            size = min(len(rest), len(found))
            if rest[:size] != memoryview(found)[:size]:
                raise StreamRefused(OTHER)
            rest = rest[size:]
            self._next.popleft()
            if size < len(found):
                self._next.appendleft(found[size:])

    async def take(self) -> list[bytes]:
        """Return the next pieces, at least one, for an append; [] at the end.

        They are returned again until `drop` is called.
        """
        pieces: list[bytes] = []
        size = 0
        while (piece := await self._first()) is not None:
            size += len(piece)
            if pieces and size > self._most_bytes:
                break
            pieces.append(self._next.popleft())
        self._next.extendleft(reversed(pieces))
        return pieces

    def drop(self, pieces: Sequence[bytes]) -> None:
        """Drop the pieces that `take` returned last: they are at the destination."""
        for _ in pieces:
            self._next.popleft()

    async def _first(self) -> bytes | None:
        while not self._next:
            page = await anext(self._pages, None)
            if page is None:
                return None
            for part in page:
                self._next += [part] if self._is_json else _cut(part, self._most_bytes)
        return self._next[0]


def _cut(part: bytes, most_bytes: int) -> Iterator[bytes]:
    """Yield a part in pieces, none of which ends within a character of UTF-8."""
    begin = 0
    while len(part) - begin > most_bytes:
        end = begin + most_bytes
        while end > begin + most_bytes - LONGEST_CHARACTER and part[end] & 0xC0 == 0x80:
            end -= 1
        yield part[begin:end]
        begin = end
    yield part[begin:]


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
