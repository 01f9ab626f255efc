"""The text of one stream while it is produced, for readers that are at different places in it."""

from __future__ import annotations

import asyncio
import sys
from collections import OrderedDict
from typing import TYPE_CHECKING

from headgate.errors import Gone, SourceFailed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

ENTRY_BYTES = 200  # what it costs to keep a chunk, beside the chunk itself
JOINED = 64 * 1024  # characters; small chunks are handed on together up to here


class TextBuffer:
    """Chunks by the position of their first character, in code points.

    Beyond `max_bytes` of memory the oldest chunks go, though never the newest one: readers that
    still need them get Gone.
    """

    def __init__(self, stream_id: str, max_bytes: int) -> None:
        self._stream_id = stream_id
        self._max_bytes = max_bytes
        self._bytes = 0
        self._chunks: OrderedDict[int, str] = OrderedDict()
        self._cause: BaseException | None = None
        self.changed = asyncio.Event()  # set at the next change; take it before you look
        self.start = 0
        self.end = 0
        self.is_over = False
        self.failure: str | None = None

    def append(self, chunk: str) -> None:
        """Add a chunk that is not empty."""
        self._chunks[self.end] = chunk
        self.end += len(chunk)
        self._bytes += _cost(chunk)
        while self._bytes > self._max_bytes and len(self._chunks) > 1:
            self.start, oldest = self._chunks.popitem(last=False)
            self.start += len(oldest)
            self._bytes -= _cost(oldest)
        self.notify()

    def finish(self, failure: str | None = None, cause: BaseException | None = None) -> None:
        """Mark the end of the text; readers get the failure, if there is one, after it."""
        self.is_over, self.failure, self._cause = True, failure, cause
        self.notify()

    def notify(self) -> None:
        """Wake all that wait for a change."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def take(self, position: int) -> str:
        """Return text from a position on, in whole chunks of about JOINED in all; it may be empty.

        Raises Gone.
        """
        if position < self.start:
            raise Gone(
                f"stream {self._stream_id!r} is kept from character {self.start} on, and "
                f"character {position} was asked for: a larger max_buffer_bytes keeps more"
            )
        if position >= self.end:
            return ""
        at = position
        if at not in self._chunks:  # it is within a chunk
            at = next(begin for begin in reversed(self._chunks) if begin < position)
        joined = [self._chunks[at][position - at :]]
        at += len(self._chunks[at])
        while at - position < JOINED and at < self.end:
            joined.append(self._chunks[at])
            at += len(joined[-1])
        return "".join(joined)

    async def read(self) -> AsyncGenerator[str, None]:
        """Yield all the text as it comes; raise SourceFailed at its end, or Gone."""
        position = 0
        while True:
            changed = self.changed
            if text := self.take(position):
                position += len(text)
                yield text
            elif self.is_over:
                break
            else:
                await changed.wait()
        if self.failure is not None:
            raise SourceFailed(self.failure) from self._cause


def _cost(chunk: str) -> int:
    return sys.getsizeof(chunk) + ENTRY_BYTES
