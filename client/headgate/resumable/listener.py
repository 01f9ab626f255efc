"""The reading of a stream that another process produces."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
from collections import deque
from typing import TYPE_CHECKING

from headgate.errors import Gone, SourceFailed, Unavailable
from headgate.resumable.messages import (
    LOST_S,
    NOT_REACHED,
    Ask,
    Part,
    decode_part,
    encode,
    replies,
    requests,
)

if TYPE_CHECKING:
    from headgate.resumable.brokers import Broker
    from headgate.resumable.messages import Text, Unit

FAILURES = {"failed": SourceFailed, "stopped": SourceFailed, "trimmed": Gone}
OLD_PRODUCER = (
    "the producer of stream {!r} has an older version of this library, which does not count in "
    "UTF-16: update it, or read the stream from its beginning"
)
CAN_WAIT = ("text", "end", "failed")  # that wait for the parts before them
WINDOW = 1024 * 1024  # characters that may wait for a slow reader, and one chunk on top
ASK_EVERY_S = 5.0  # so that each side knows that the other is there
FIRST_AGAIN_S = 0.3  # of the second for which a resume waits by default
LEAVE_WITHIN_S = 5.0


class Listener:
    """A reader of a stream in another process, with what it received and requested."""

    def __init__(self, stream_id: str, broker: Broker, at: int, unit: Unit) -> None:
        self._stream_id = stream_id
        self._broker = broker
        self._id = secrets.token_urlsafe(12)
        self._production: str | None = None
        self._received = at
        # Whether `_received` counts UTF-16 code units: until the producer has sent the place in
        # characters. The beginning is 0 in both.
        self._in_utf16 = unit == "utf-16" and at > 0
        self._has_old_producer = False  # one that takes each place for one in characters
        self._limit = 0
        self._waiting: deque[str] = deque()  # for the reader
        self._waiting_length = 0
        self._last: Part | None = None
        self._more = asyncio.Event()
        self._asked_at = -math.inf
        self._has_gap = False  # text was lost on the way

    async def answered(self, within_s: float) -> Text | None:
        """Return the text once a producer answers, or None if none does in `within_s` seconds."""
        reading = self._read(within_s)
        # After its first step, what it holds is released with it.
        return None if await anext(reading, None) is None else reading

    async def _read(self, answer_within_s: float) -> Text:
        """Yield an empty string once a producer has answered, then the text."""
        try:
            await self._broker.subscribe(replies(self._id), self._on_message)
            if not await self._wait_for_message(answer_within_s, FIRST_AGAIN_S):
                return
            if self._has_old_producer:
                raise Unavailable(OLD_PRODUCER.format(self._stream_id))
            yield ""
            while self._waiting or self._last is None:
                if self._waiting:
                    yield await self._next()
                elif not await self._wait_for_message(LOST_S, ASK_EVERY_S):
                    unit = "UTF-16 code unit" if self._in_utf16 else "character"
                    raise SourceFailed(
                        f"the producer of stream {self._stream_id!r} has not been heard of for "
                        f"{LOST_S:.0f} s, at {unit} {self._received}"
                    )
        finally:
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(LEAVE_WITHIN_S):
                    await self._broker.unsubscribe(replies(self._id))
                    await self._send(Ask(self._id, leaves=True, production=self._production))
        if self._last is not None and self._last.kind in FAILURES:
            raise FAILURES[self._last.kind](self._last.text)

    async def _next(self) -> str:
        text = self._waiting.popleft()
        self._waiting_length -= len(text)
        if self._last is None and self._room() - self._limit >= WINDOW // 2:
            with contextlib.suppress(Unavailable):
                await self._ask()
        return text

    def _room(self) -> int:
        """Return the position up to which this reader has room for text."""
        return self._received - self._waiting_length + WINDOW

    async def _wait_for_message(self, within_s: float, every_s: float) -> bool:
        """Wait for a message, and ask for one every `every_s`; return False if none comes."""
        time = asyncio.get_running_loop().time
        give_up_at = time() + within_s
        self._more.clear()
        # The clock decides: a broker may take a timeout's cancellation for one of its own.
        while not self._more.is_set() and time() < give_up_at:
            due_at = self._asked_at + every_s
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(min(due_at, give_up_at)):
                    await self._more.wait()
            if not self._more.is_set() and due_at <= time() < give_up_at:
                with contextlib.suppress(Unavailable, TimeoutError):
                    async with asyncio.timeout_at(give_up_at):
                        await self._ask()
        return self._more.is_set()

    async def _ask(self) -> None:
        self._asked_at = asyncio.get_running_loop().time()
        self._limit = self._room()
        await self._send(
            Ask(
                self._id,
                self._received,
                self._limit,
                again=self._has_gap,
                production=self._production,
                in_utf16=self._in_utf16,
            )
        )

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
        self._more.set()
        if self._in_utf16:
            self._count_in_characters(part.start)
        if not self._has_old_producer:
            self._take(part)

    def _count_in_characters(self, start: int | None) -> None:
        """Continue at `start`, which is `_received` in characters; an old producer sends None."""
        if start is None:
            self._has_old_producer = True
        elif start != NOT_REACHED:
            self._limit += start - self._received
            self._received, self._in_utf16 = start, False

    def _take(self, part: Part) -> None:
        if part.kind in CAN_WAIT and part.position > self._received:
            if not self._has_gap:  # what is on its way shows the same gap, and is not asked for
                self._has_gap, self._asked_at = True, -math.inf
        elif part.kind != "text":
            self._last = self._last or part
        elif text := part.text[self._received - part.position :]:
            self._waiting.append(text)
            self._waiting_length += len(text)
            self._received += len(text)
            self._has_gap = False
