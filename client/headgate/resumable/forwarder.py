"""Sends a stream to one reader in another process, no faster than that reader takes it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headgate.errors import TextTrimmed
from headgate.resumable.messages import Kind, Part

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.resumable.buffer import TextBuffer
    from headgate.resumable.messages import Ask

LOST_S = 30.0  # a reader asks every 5 s; one that was silent for so long has gone without a word

_log = logging.getLogger("headgate.resumable")


class Forwarder:
    """The position of one reader in the buffer, and the task that sends it the text.

    Forwarding ends when the reader leaves, is silent for LOST_S, or has got the end of the text.
    """

    def __init__(
        self,
        production: str,
        buffer: TextBuffer,
        publish: Callable[[str], Awaitable[object]],
        ask: Ask,
    ) -> None:
        self._production = production
        self._buffer = buffer
        self._publish = publish
        self._at = ask.at
        self._limit = 0
        self._wake = asyncio.Event()
        self._has_left = False
        self._owes_answer = True
        self._has_ended = False
        self._is_stalled = False
        self._stopped: str | None = None
        self._lost_at = 0.0
        self.asked(ask)

    def asked(self, ask: Ask) -> None:
        """Accept a request of the reader, which says how far it is."""
        self._lost_at = asyncio.get_running_loop().time() + LOST_S
        self._limit = ask.limit
        if ask.again:
            self._at = ask.at
            self._owes_answer = True
            self._has_ended = self._is_stalled = False
        self._has_left = self._has_left or ask.leaves
        self._wake.set()

    async def run(self) -> None:
        """Send until the reader has gone, or the producer stops."""
        loop = asyncio.get_running_loop()
        with self._buffer.watched(self._wake):
            while not self._has_left and loop.time() < self._lost_at:
                self._wake.clear()
                part = self._next()
                if part is not None:
                    await self._send(part)
                    continue
                if self._stopped is not None:
                    # Also after the end: a reader that missed what came before it waits no longer.
                    await self._send(Part(self._production, Kind.STOPPED, self._at, self._stopped))
                    return
                try:
                    async with asyncio.timeout_at(self._lost_at):
                        await self._wake.wait()
                except TimeoutError:
                    continue  # unless it has asked meanwhile, it is lost

    def stop(self, reason: str) -> None:
        """Send what the reader has room for, its end too, and then that there will be no more."""
        self._stopped = reason
        self._wake.set()

    def _next(self) -> Part | None:
        """Return the part to send now, or None."""
        if self._is_stalled or self._has_ended:
            return None
        try:
            text = self._buffer.take(self._at) if self._at < self._limit else ""
        except TextTrimmed as error:
            self._has_ended = True
            return Part(self._production, Kind.TRIMMED, self._at, str(error))
        if text or self._owes_answer:
            part = Part(self._production, Kind.TEXT, self._at, text)
            self._at += len(text)
            self._owes_answer = False
            return part
        if self._buffer.is_over and self._at >= self._buffer.end:
            self._has_ended = True
            failure = self._buffer.failure
            kind = Kind.END if failure is None else Kind.FAILED
            return Part(self._production, kind, self._at, failure or "")
        return None

    async def _send(self, part: Part) -> None:
        try:
            await self._publish(part.encode())
        except OSError as error:  # the reader asks again once the broker is back
            self._is_stalled = True
            _log.warning("text could not be passed on to a reader: %s", error)
