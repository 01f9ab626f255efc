"""The body of a response that several readers receive while it arrives."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from gateway.errors import OriginBroken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.errors import HeadgateError

AHEAD_BYTES = 256 * 1024  # what the origin may be ahead of those to whom a body is passed on
SLOW_S = 2.0  # how long those who keep up wait for one who takes nothing at all


class SharedBody:
    """A body that several clients read while it arrives.

    It is stored whole until it is `passed_on`; then each part only until all readers have it.
    """

    def __init__(self) -> None:
        self.size = 0
        self.passed_on = False
        self._parts: list[bytes] = []
        self._dropped = 0  # of the parts, those that are not kept any more
        self._readers: set[SharedBodyReader] = set()
        self._ended = False
        self._error: HeadgateError | None = None
        # Of a body that nobody waits for nobody is told.
        self._came: asyncio.Event | None = None
        self._progress: asyncio.Event | None = None

    def reader(self) -> SharedBodyReader:
        """Return a new reader, at the beginning of the body."""
        assert not self.passed_on, "its beginning may be gone"
        reader = SharedBodyReader(self)
        self._readers.add(reader)
        return reader

    def whole(self) -> bytes:
        """Return the body received so far, while all of it is stored."""
        return b"".join(self._parts)

    # As it comes

    def add(self, part: bytes) -> None:
        """Take the next part."""
        self._parts.append(part)
        self.size += len(part)
        _set(self._came)

    def end(self) -> None:
        """Mark the body as complete."""
        self._ended = True
        _set(self._came)

    def fail(self, error: HeadgateError) -> None:
        """End the body early: no more comes, though there should be."""
        self._error = error
        _set(self._came)

    def pass_on(self) -> None:
        """Drop the parts that no reader needs any more, from now on."""
        self.passed_on = True
        self._drop()

    async def wait_for_slowest(self) -> None:
        """Wait for the slowest reader. Raises OriginBroken if no reader is left.

        A reader that makes others wait for too long is dropped; a single reader is not.
        """
        now = asyncio.get_running_loop().time
        while self.passed_on:
            self._drop()
            if not self._readers:
                raise OriginBroken("nobody waited for the origin's answer any more")
            slow = self._behind()
            if not slow:
                return
            left_s = None
            if len(slow) < len(self._readers):
                left_s = min(one.stands_for(now()) for one in slow)
            self._progress = progress = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left_s):
                    await progress.wait()
            if left_s is not None:
                for reader in self._behind():
                    if reader.stands_for(now()) <= 0:
                        reader.is_let_go = True
                        self._readers.discard(reader)

    def _behind(self) -> list[SharedBodyReader]:
        return [one for one in self._readers if self.size - one.received_bytes > AHEAD_BYTES]

    # As it is read

    async def part(self, reader: SharedBodyReader) -> bytes:
        """Return a reader's next part once it is there; empty at the end. Raises what cut it."""
        while not reader.is_let_go and reader.at == self._dropped + len(self._parts):
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            if self._came is None or self._came.is_set():
                self._came = asyncio.Event()
            await self._came.wait()
        if reader.is_let_go:
            raise OriginBroken("others who read the same answer could not wait for this reader")
        return self._parts[reader.at - self._dropped]

    def on_progress(self) -> None:
        """Note that a reader took a part."""
        _set(self._progress)

    def remove_reader(self, reader: SharedBodyReader) -> None:
        """Remove a reader."""
        self._readers.discard(reader)
        _set(self._progress)

    def _drop(self) -> None:
        if self.passed_on:
            came = self._dropped + len(self._parts)
            slowest = min((reader.at for reader in self._readers), default=came)
            del self._parts[: slowest - self._dropped]
            self._dropped = slowest


def _set(event: asyncio.Event | None) -> None:
    if event is not None:
        event.set()


class SharedBodyReader:
    """A reader of a body, which has the parts before `at`, `received_bytes` in all."""

    def __init__(self, body: SharedBody) -> None:
        self.at = 0
        self.received_bytes = 0
        self.is_let_go = False
        self._stood = (-1, 0.0)  # at how many bytes, and since when, it was last seen behind
        self._body = body

    def stands_for(self, now: float) -> float:
        """Return how many seconds a reader that is behind may still take nothing."""
        if self._stood[0] != self.received_bytes:
            self._stood = (self.received_bytes, now)
        return self._stood[1] + SLOW_S - now

    async def parts(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives. Raises what cut it short."""
        while part := await self._body.part(self):
            self.at += 1
            self.received_bytes += len(part)
            self._body.on_progress()
            yield part

    def release(self) -> None:
        """Release the response, because no reader needs the rest."""
        self._body.remove_reader(self)
