"""The text of one stream while it is produced, for readers that are at different places in it."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.errors import SourceFailed, TextTrimmed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

ENTRY_BYTES = 200  # what it costs to keep a chunk, beside the chunk itself
JOINED = 64 * 1024  # characters; small chunks are handed on together up to here


class TextBuffer:
    """Chunks by the position of their first character, in code points.

    Beyond `max_bytes` of memory the oldest chunks go, though never the newest one: who still needs
    them gets TextTrimmed.
    """

    def __init__(self, stream_id: str, max_bytes: int) -> None:
        self._stream_id = stream_id
        self._max_bytes = max_bytes
        self._bytes = 0
        self._chunks: OrderedDict[int, str] = OrderedDict()
        self._watchers: set[asyncio.Event] = set()
        self._cause: BaseException | None = None
        self.start = 0
        self.end = 0
        self.is_over = False
        self.failure: str | None = None

    @override
    def __repr__(self) -> str:
        return f"TextBuffer({self.start}-{self.end}, {self._bytes} bytes, over={self.is_over})"

    def append(self, chunk: str) -> None:
        """Add a chunk that is not empty."""
        self._chunks[self.end] = chunk
        self.end += len(chunk)
        self._bytes += _cost(chunk)
        while self._bytes > self._max_bytes and len(self._chunks) > 1:
            self.start, oldest = self._chunks.popitem(last=False)
            self.start += len(oldest)
            self._bytes -= _cost(oldest)
        self._wake()

    def finish(self, failure: str | None = None, cause: BaseException | None = None) -> None:
        """Mark the end of the text; readers get the failure, if there is one, after it."""
        self.is_over, self.failure, self._cause = True, failure, cause
        self._wake()

    def take(self, position: int) -> str:
        """Return text from a position on, in whole chunks of about JOINED in all; it may be empty.

        Raises TextTrimmed.
        """
        if position < self.start:
            raise TextTrimmed(
                f"stream {self._stream_id!r} is kept from character {self.start} on, and "
                f"character {position} was asked for: a larger max_buffer_bytes keeps more"
            )
        first = self._rest_of_chunk(position)
        joined = [first]
        length = len(first)
        while length < JOINED and (chunk := self._chunks.get(position + length)) is not None:
            joined.append(chunk)
            length += len(chunk)
        return first if len(joined) == 1 else "".join(joined)

    def _rest_of_chunk(self, position: int) -> str:
        if position >= self.end:
            return ""
        chunk = self._chunks.get(position)
        if chunk is not None:
            return chunk
        begin = next(at for at in reversed(self._chunks) if at < position)
        return self._chunks[begin][position - begin :]

    @contextlib.contextmanager
    def watched(self, event: asyncio.Event) -> Iterator[None]:
        """Set the event whenever there is more text, or the end."""
        self._watchers.add(event)
        try:
            yield
        finally:
            self._watchers.discard(event)

    async def read(self) -> AsyncGenerator[str, None]:
        """Yield all the text as it comes; raise SourceFailed at its end, or TextTrimmed."""
        position, more = 0, asyncio.Event()
        with self.watched(more):
            while True:
                more.clear()
                if text := self.take(position):
                    position += len(text)
                    yield text
                elif self.is_over:
                    break
                else:
                    await more.wait()
        if self.failure is not None:
            raise SourceFailed(self.failure) from self._cause

    def _wake(self) -> None:
        for event in self._watchers:
            event.set()


def _cost(chunk: str) -> int:
    return sys.getsizeof(chunk) + ENTRY_BYTES
