"""An origin with one stream, whose long-polls are answered when a test says so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

from tests.support.raw_origin import RawOrigin, answer
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.raw_origin import Play, Wire


class LiveOrigin(RawOrigin):
    """Holds pieces of data; offsets count them. A read gives all that follows its offset.

    `visible` bounds what catch-ups see, as at a replica that lags behind. `instead` answers
    whatever is asked, while it is set.
    """

    def __init__(self, *pieces: bytes, content_type: str = "text/plain") -> None:
        super().__init__(self._play)
        self.pieces = list(pieces)
        self.content_type = content_type
        self.closed_stream = False
        self.visible: int | None = None
        self.instead: bytes | Play | None = None
        self.holds = True
        self.holds_past_the_end = True  # a poll of what no stream of this length has
        self.refuses_past_the_end = False  # a read of it
        self.says: list[str] = []  # more header lines of every read
        self.says_of_reads: list[str] = []  # of those that do not wait
        self.says_of_polls: list[str] = []
        self.tells_of_tails = True
        self.cursor = "7"
        self.mark = ""  # at the end of each offset
        self.longest: int | None = None  # in pieces, of what a read gives
        self.queries: list[dict[str, list[str]]] = []  # of the long-polls so far
        self.polls: list[str] = []  # the targets of the long-polls so far
        self.catch_ups: list[str] = []
        self.waiting = 0
        self._changed = asyncio.Event()

    # What the test does

    def append(self, *pieces: bytes) -> None:
        """More data, which the waiting polls are told of."""
        self.pieces.extend(pieces)
        self.tell()

    def close_stream(self, *pieces: bytes) -> None:
        """No more data after these."""
        self.pieces.extend(pieces)
        self.closed_stream = True
        self.tell()

    def tell(self) -> None:
        """Answer every poll that waits, with or without news."""
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def answer_all(self, script: bytes | Play) -> None:
        """Answer this to the polls that wait, and to whatever is asked from now on."""
        self.instead = script
        self.tell()

    async def polled(self, times: int) -> None:
        """Wait until so many polls have come, and the last one waits."""
        await until(lambda: len(self.polls) >= times and self.waiting > 0)

    # What it answers

    async def _play(self, wire: Wire) -> None:
        method, target = wire.heard.method, wire.heard.target
        queries = parse_qs(urlsplit(target).query)
        query = {name: values[0] for name, values in queries.items()}
        is_poll = query.get("live") == "long-poll"
        if is_poll:
            self.queries.append(queries)
        if method == "GET":
            (self.polls if is_poll else self.catch_ups).append(target)
        await wire.body()
        start = self._position(query.get("offset", "-1"))
        if is_poll and self.instead is None and self.holds:
            await self._wait(start, wire)
        if isinstance(self.instead, bytes):
            await wire.send(self.instead)
        elif self.instead is not None:
            await self.instead(wire)
        elif method != "GET":
            await wire.send(self._written(method))
        elif self.refuses_past_the_end and start > len(self.pieces):
            await wire.send(answer(status="400 Bad Request"))
        else:
            await wire.send(self._read(start, is_poll=is_poll))

    async def _wait(self, start: int, wire: Wire) -> None:
        if start < len(self.pieces) or self.closed_stream:
            return
        if start > len(self.pieces) and not self.holds_past_the_end:
            return
        changed = self._changed
        self.waiting += 1
        left = asyncio.ensure_future(wire.rest())
        told = asyncio.ensure_future(changed.wait())
        try:
            await asyncio.wait([left, told], return_when=asyncio.FIRST_COMPLETED)
            if not told.done():
                await wire.reset()
        finally:
            left.cancel()
            told.cancel()
            await asyncio.gather(left, told, return_exceptions=True)
            # Last: who sees that nobody waits may take it that the answer is chosen.
            self.waiting -= 1

    def _position(self, offset: str) -> int:
        if offset == "now":
            return len(self.pieces)
        return 0 if offset == "-1" else int(offset.removesuffix(self.mark))

    def _written(self, method: str) -> bytes:
        if method == "DELETE":
            return answer(status="204 No Content")
        return answer(b"", f"Stream-Next-Offset: {len(self.pieces):04}", status="204 No Content")

    def _read(self, start: int, *, is_poll: bool) -> bytes:
        end = len(self.pieces)
        if self.visible is not None and not is_poll:
            end = max(start, min(end, self.visible))
        end = end if self.longest is None else min(end, start + self.longest)
        fields = [f"Stream-Next-Offset: {end:04}{self.mark}", f"Stream-Cursor: {self.cursor}"]
        if self.tells_of_tails and (end == len(self.pieces) or self.visible is not None):
            fields.append("Stream-Up-To-Date: true")
        fields += [*self.says, *(self.says_of_polls if is_poll else self.says_of_reads)]
        if self.closed_stream and end == len(self.pieces):
            fields.append("Stream-Closed: true")
        pieces = self.pieces[start:end]
        if is_poll and not pieces:
            return answer(b"", *fields, status="204 No Content")
        body = b"".join(pieces)
        if self.content_type == "application/json":
            body = b"[" + b",".join(pieces) + b"]"
        return answer(body, f"Content-Type: {self.content_type}", *fields)
