"""Reads a stream that another process, or another event loop, produces."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import deque
from typing import TYPE_CHECKING

from headgate.errors import ProducerLost, SourceFailed, TextTrimmed
from headgate.resumable.messages import Ask, Kind, Part
from headgate.resumable.names import LOST

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.resumable.contract import Broker
    from headgate.resumable.names import Names

CAN_WAIT = (Kind.TEXT, Kind.END, Kind.FAILED)  # until what is missing before it has come
WINDOW = 1024 * 1024  # characters that may wait for a slow reader, and one chunk on top
ASK_EVERY_S = 5.0  # so that each side knows that the other is there
ASK_AGAIN_S = 1.0  # what was asked, or sent, may have been lost
FIRST_AGAIN_S = 0.3  # of the second for which a resume waits by default
LOST_S = 30.0  # a broker that restarts, or a producer that is held up, is back by then
LAST_ASK_S = 2.0  # before that: for an answer of one that is back
LEAVE_WITHIN_S = 5.0


class Listener:
    """A reader of a stream in another process, with what it received and requested."""

    def __init__(self, names: Names, broker: Broker, at: int, sentinel_ttl: float) -> None:
        self._names = names
        self._broker = broker
        self._sentinel_ttl = sentinel_ttl
        self._id = secrets.token_urlsafe(12)
        self._production: str | None = None
        self._received = at
        self._limit = 0
        self._waiting: deque[str] = deque()  # for the reader
        self._waiting_length = 0
        self._last: Part | None = None
        self._is_gap = False
        self._more = asyncio.Event()
        self._last_ask_at = self._last_reply_at = 0.0
        self._again_s = ASK_AGAIN_S
        self._unanswered_since: float | None = None

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
            await self._broker.subscriber.subscribe(self._names.text(self._id), self._on_message)
            await self._be_answered(answer_within_s)
            if self._production is None:
                return
            yield ""
            while True:
                self._more.clear()
                if self._waiting:
                    yield await self._next()
                elif self._last is not None:
                    break
                else:
                    await self._hear_more()
        finally:
            await self._leave()
        _raise_failure(self._last)

    async def _be_answered(self, within_s: float) -> None:
        """Repeat the request until a producer answers: it may only just begin to listen."""
        loop, wait_s = asyncio.get_running_loop(), FIRST_AGAIN_S
        give_up_at = loop.time() + within_s
        # The clock decides: a broker may take a timeout's cancellation for one of its own.
        while not self._more.is_set() and loop.time() < give_up_at:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(give_up_at):
                    await self._ask(again=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(loop.time() + wait_s, give_up_at)):
                    await self._more.wait()
            wait_s *= 2

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

    async def _hear_more(self) -> None:
        """Wait for a message; where none comes, ask. Raises ProducerLost."""
        now = asyncio.get_running_loop().time()
        lost_at = self._lost_at()
        if now >= lost_at:
            with contextlib.suppress(OSError):
                await self._broker.publisher.set(self._names.sentinel, LOST, self._sentinel_ttl)
            raise ProducerLost(
                f"the producer of stream {self._names.stream_id!r} has not been heard of for "
                f"{LOST_S:.0f} s, at character {self._received}"
            )
        is_well = self._unanswered_since is None and not self._is_gap
        due_at = self._last_ask_at + (ASK_EVERY_S if is_well else self._again_s)
        if due_at > lost_at - LAST_ASK_S:
            is_last_asked = self._last_ask_at >= lost_at - LAST_ASK_S
            due_at = lost_at if is_last_asked else lost_at - LAST_ASK_S
        if now >= due_at:
            # What is on its way need not be sent twice.
            is_silent = now - self._last_reply_at >= ASK_EVERY_S
            if not is_well:
                self._again_s *= 2  # it may be that both are only slow
            with contextlib.suppress(OSError):
                await self._ask(again=is_silent or not is_well)
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(due_at):
                await self._more.wait()

    def _lost_at(self) -> float:
        """Return the loop time at which a producer that stays silent counts as lost."""
        if self._unanswered_since is None:
            return math.inf
        # A reader that comes back from a pause has asked only now.
        return max(self._last_reply_at + LOST_S, self._unanswered_since + LOST_S - 2 * ASK_EVERY_S)

    async def _ask(self, *, again: bool = False) -> None:
        self._last_ask_at = asyncio.get_running_loop().time()
        self._limit = self._room()
        if again or self._production is None:  # other questions need no answer
            self._is_gap = False
            if self._unanswered_since is None:
                self._unanswered_since = self._last_ask_at
        await self._send(Ask(self._id, self._received, self._limit, again, False, self._production))

    async def _leave(self) -> None:
        with contextlib.suppress(OSError):  # also a TimeoutError
            async with asyncio.timeout(LEAVE_WITHIN_S):
                await self._broker.subscriber.unsubscribe(self._names.text(self._id))
                await self._send(Ask(self._id, leaves=True, production=self._production))

    async def _send(self, ask: Ask) -> None:
        await self._broker.publisher.publish(self._names.requests, ask.encode())

    def _on_message(self, message: str) -> None:
        try:
            part = Part.decode(message)
        except ValueError:
            return  # not ours
        if self._production is None:
            self._production = part.production
        elif part.production != self._production:
            return
        self._unanswered_since = None
        self._last_reply_at = asyncio.get_running_loop().time()
        self._more.set()
        if part.kind in CAN_WAIT and part.position > self._received:
            self._is_gap = True  # something was lost on the way: it is asked for again
        elif part.kind is Kind.TEXT:
            self._received_text(part.text[self._received - part.position :])
        elif self._last is None:
            self._last = part

    def _received_text(self, text: str) -> None:
        if text:
            self._waiting.append(text)
            self._waiting_length += len(text)
            self._received += len(text)
            self._again_s = ASK_AGAIN_S


def _raise_failure(last: Part | None) -> None:
    assert last is not None, "an end was read"
    if last.kind in (Kind.FAILED, Kind.STOPPED):
        raise SourceFailed(last.text)
    if last.kind is Kind.TRIMMED:
        raise TextTrimmed(last.text)
