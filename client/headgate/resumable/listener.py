"""The reading of a stream that another process, or another event loop, produces."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import deque
from typing import TYPE_CHECKING

from headgate.errors import Gone, SourceFailed
from headgate.resumable.messages import (
    LOST,
    Ask,
    Part,
    decode_part,
    encode,
    replies,
    requests,
    sentinel,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.resumable.contract import Broker

FAILURES = {"failed": SourceFailed, "stopped": SourceFailed, "trimmed": Gone}
CAN_WAIT = ("text", "end", "failed")  # that wait for the parts before them
WINDOW = 1024 * 1024  # characters that may wait for a slow reader, and one chunk on top
ASK_EVERY_S = 5.0  # so that each side knows that the other is there
FIRST_AGAIN_S = 0.3  # of the second for which a resume waits by default
LOST_S = 30.0  # a broker that restarts, or a producer that is held up, is back by then
LEAVE_WITHIN_S = 5.0


class Listener:
    """A reader of a stream in another process, with what it received and requested."""

    def __init__(self, stream_id: str, broker: Broker, at: int, sentinel_ttl: float) -> None:
        self._stream_id = stream_id
        self._broker = broker
        self._sentinel_ttl = sentinel_ttl
        self._id = secrets.token_urlsafe(12)
        self._production: str | None = None
        self._received = at
        self._limit = 0
        self._waiting: deque[str] = deque()  # for the reader
        self._waiting_length = 0
        self._last: Part | None = None
        self._more = asyncio.Event()
        self._last_message_at = self._asked_at = self._asked_again_at = -math.inf
        self._has_gap = False  # text was lost on the way

    async def answered(self, within_s: float) -> AsyncGenerator[str, None] | None:
        """Return the text once a producer answers, or None if none does in `within_s` seconds."""
        reading = self._read(within_s)
        try:
            await anext(reading)  # what it holds is released with it from here on
        except StopAsyncIteration:
            return None
        return reading

    async def _read(self, answer_within_s: float) -> AsyncGenerator[str, None]:
        """Yield an empty string once a producer has answered, then the text."""
        try:
            await self._broker.subscribe(replies(self._id), self._on_message)
            if not await self._wait_for_message(answer_within_s, FIRST_AGAIN_S):
                return
            yield ""
            while self._waiting or self._last is None:
                if self._waiting:
                    yield await self._next()
                elif not await self._wait_for_message(self._patience_s(), ASK_EVERY_S):
                    await self._give_up()
        finally:
            await self._leave()
        if self._last is not None and self._last.kind in FAILURES:
            raise FAILURES[self._last.kind](self._last.text)

    async def _next(self) -> str:
        text = self._waiting.popleft()
        self._waiting_length -= len(text)
        if self._last is None and self._room() - self._limit >= WINDOW // 2:
            with contextlib.suppress(OSError):
                await self._ask()
        return text

    def _room(self) -> int:
        """Return the position up to which this reader has room for text."""
        return self._received - self._waiting_length + WINDOW

    def _patience_s(self) -> float:
        """Return for how long the producer may be silent until it counts as lost."""
        silence_s = asyncio.get_running_loop().time() - self._last_message_at
        # A reader that comes back from a pause begins to ask only now.
        return LOST_S - min(silence_s, 2 * ASK_EVERY_S)

    async def _wait_for_message(self, within_s: float, every_s: float) -> bool:
        """Wait for a message, and ask for one every `every_s`; return False if none comes."""
        time = asyncio.get_running_loop().time
        give_up_at = time() + within_s
        self._more.clear()
        # The clock decides: a broker may take a timeout's cancellation for one of its own.
        while not self._more.is_set() and time() < give_up_at:
            due_at = every_s + (self._asked_again_at if self._has_gap else self._asked_at)
            with contextlib.suppress(OSError):  # also a TimeoutError
                async with asyncio.timeout_at(min(due_at, give_up_at)):
                    await self._more.wait()
            if not self._more.is_set() and due_at <= time() < give_up_at:
                # What is on its way need not be sent twice.
                is_silent = time() - self._last_message_at >= every_s
                with contextlib.suppress(OSError):
                    async with asyncio.timeout_at(give_up_at):
                        await self._ask(again=is_silent or self._has_gap)
        return self._more.is_set()

    async def _give_up(self) -> None:
        with contextlib.suppress(OSError):
            await self._broker.set(sentinel(self._stream_id), LOST, self._sentinel_ttl)
        raise SourceFailed(
            f"the producer of stream {self._stream_id!r} has not been heard of for "
            f"{LOST_S:.0f} s, at character {self._received}"
        )

    async def _ask(self, *, again: bool = False) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        if again:
            self._asked_again_at = self._asked_at
        self._limit = self._room()
        await self._send(Ask(self._id, self._received, self._limit, again, False, self._production))

    async def _leave(self) -> None:
        with contextlib.suppress(OSError):  # also a TimeoutError
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self._broker.unsubscribe(replies(self._id))
                await self._send(Ask(self._id, leaves=True, production=self._production))

    async def _send(self, ask: Ask) -> None:
        await self._broker.publish(requests(self._stream_id), encode(ask))

    def _on_message(self, message: str) -> None:
        try:
            part = decode_part(message)
        except ValueError:
            return  # not ours
        self._production = self._production or part.production
        if part.production != self._production:
            return
        self._last_message_at = asyncio.get_running_loop().time()
        self._more.set()
        if part.kind in CAN_WAIT and part.position > self._received:
            self._has_gap = True
        elif part.kind == "text":
            self._add(part.text[self._received - part.position :])
        elif self._last is None:
            self._last = part

    def _add(self, text: str) -> None:
        if text:
            self._waiting.append(text)
            self._waiting_length += len(text)
            self._received += len(text)
            # After another gap, this reader asks at once.
            self._has_gap, self._asked_again_at = False, -math.inf
