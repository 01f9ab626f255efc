"""The production of a stream: the source is read to its end, and sent to other processes."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import secrets
import sys
from bisect import bisect_left
from collections import OrderedDict, deque
from collections.abc import AsyncGenerator, AsyncIterable
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, NamedTuple, TypeGuard

from headgate.errors import Gone, SourceFailed, Unavailable, safe_error_text
from headgate.resumable.memory import held_text
from headgate.resumable.messages import (
    DONE,
    LOST_S,
    NOT_REACHED,
    Part,
    decode_ask,
    encode,
    replies,
    requests,
    sentinel,
)
from headgate.retries import Retries

if TYPE_CHECKING:
    from headgate.resumable.brokers import Broker
    from headgate.resumable.messages import Ask, ErrorText, Kind, MakeSource, Text

RENEW_S = 10.0  # until then a stream costs nothing but its INCR and SUBSCRIBE
MARK_DONE_FOR_S = 30.0  # a broker that restarts is back by then
STOP_WITHIN_S = 5.0  # for a source to close, and then for the last words to readers
ENTRY_BYTES = 200  # what it costs to keep a chunk, beside the chunk itself
WIDE_BYTES = 150  # what the places in UTF-16 of a chunk with surrogate pairs cost
JOINED = 64 * 1024  # characters; small chunks are handed on together up to here

_log = logging.getLogger("headgate.resumable")


class _Wide(NamedTuple):
    """The places of a chunk that has characters which are surrogate pairs in UTF-16."""

    begin: int  # in characters
    begin_units: int  # in UTF-16
    end_units: int


class TextBuffer:
    """Chunks by the position of their first character, in code points.

    Beyond `max_bytes` of memory the oldest chunks go, though never the newest one: readers that
    still need them get Gone.
    """

    def __init__(self, stream_id: str, max_bytes: int) -> None:
        self._stream_id = stream_id
        self._max_bytes = max_bytes
        self.size = 0  # in bytes
        self._chunks: OrderedDict[int, str] = OrderedDict()
        self._wide: deque[_Wide] = deque()
        self._start_units = self._end_units = 0  # `start` and `end` in UTF-16
        self._cause: BaseException | None = None
        self.changed = asyncio.Event()  # set at the next change; take it before you look
        self.start = 0
        self.end = 0
        self.is_over = False
        self.failure: str | None = None

    def append(self, chunk: str) -> None:
        """Add a chunk that is not empty."""
        units = len(chunk) if chunk.isascii() else len(chunk.encode("utf-16-le")) // 2
        if units > len(chunk):
            self._wide.append(_Wide(self.end, self._end_units, self._end_units + units))
            self.size += WIDE_BYTES
        self._chunks[self.end] = chunk
        self.end += len(chunk)
        self._end_units += units
        self.size += sys.getsizeof(chunk) + ENTRY_BYTES
        while self.size > self._max_bytes and len(self._chunks) > 1:
            self._drop_oldest()
        self.notify()

    def _drop_oldest(self) -> None:
        begin, chunk = self._chunks.popitem(last=False)
        self.size -= sys.getsizeof(chunk) + ENTRY_BYTES
        self.start += len(chunk)
        if self._wide and self._wide[0].begin == begin:
            self._start_units = self._wide.popleft().end_units
            self.size -= WIDE_BYTES
        else:
            self._start_units += len(chunk)

    def finish(self, failure: str | None = None, cause: BaseException | None = None) -> None:
        """Mark the end of the text, once; readers get the failure, if there is one, after it."""
        if not self.is_over:
            self.is_over, self.failure, self._cause = True, failure, cause
            self.notify()

    def notify(self) -> None:
        """Wake all that wait for a change."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def position_of(self, units: int) -> int | None:
        """Return the position of a place in UTF-16 code units, or None while the text is shorter.

        A place within a surrogate pair is the one before it. Raises Gone.
        """
        if units > self._end_units:
            return None
        if units < self._start_units:
            raise Gone(
                f"stream {self._stream_id!r} is kept from UTF-16 code unit {self._start_units} on, "
                f"and unit {units} was asked for: a larger max_buffer_bytes keeps more"
            )
        before = bisect_left(self._wide, units, key=attrgetter("begin_units"))
        if before == 0:
            return self.start + units - self._start_units
        wide = self._wide[before - 1]
        chunk = self._chunks[wide.begin]
        if units >= wide.end_units:
            return wide.begin + len(chunk) + units - wide.end_units
        units -= wide.begin_units
        encoded = chunk[:units].encode("utf-16-le")[: 2 * units]
        return wide.begin + len(encoded.decode("utf-16-le", "ignore"))  # without half a pair

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

    async def read(self) -> Text:
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


class NoText(TypeError):
    """A source gave something else than text; the message has its type, and not its value."""


class StreamProduction:
    """A stream in the process that produces it."""

    def __init__(
        self,
        stream_id: str,
        broker: Broker,
        sentinel_ttl: float,
        max_buffer_bytes: int,
        error_text: ErrorText,
    ) -> None:
        self._stream_id = stream_id
        self.broker = broker
        self._sentinel_ttl = sentinel_ttl
        self._error_text = error_text
        self._stopping = f"the producer of stream {stream_id!r} was stopped"
        self.stopped: str | None = None  # the reason
        self.id = secrets.token_urlsafe(12)
        self.buffer = TextBuffer(stream_id, max_buffer_bytes)
        self._forwarders: dict[str, _Forwarder] = {}

    async def run(self, make_source: MakeSource) -> None:
        """Read the source to its end, and stay until the readers elsewhere have everything."""
        with held_text.production(self.id):
            await self._run(make_source)

    async def _run(self, make_source: MakeSource) -> None:
        renewing = asyncio.create_task(self._renew())
        reading = asyncio.create_task(self._read_source(make_source))
        try:
            await asyncio.wait({reading})
            renewing.cancel()
            await asyncio.wait({renewing})  # else it might set the sentinel back
            await self._mark_done(MARK_DONE_FOR_S)
            while self._forwarders:
                await asyncio.wait(self._sending())
        except asyncio.CancelledError:
            renewing.cancel()
            await self._stop(reading)
            raise
        finally:
            with contextlib.suppress(Unavailable):
                await self.broker.unsubscribe(requests(self._stream_id))

    async def _read_source(self, make_source: MakeSource) -> None:
        chunks: object = None
        try:
            chunks = _checked_source(make_source())
            async for chunk in chunks:
                if self.buffer.is_over:
                    return  # it was abandoned after STOP_WITHIN_S
                if _is_text(chunk):
                    self.buffer.append(chunk)
                    held_text.set(self.id, self.buffer.size)
            self.buffer.finish()
        except Exception as error:  # noqa: BLE001 - readers get it, whatever it is
            _log.warning("the source of stream %r failed", self._stream_id, exc_info=error)
            text = str if isinstance(error, NoText) else self._error_text
            words = safe_error_text(error, text, class_name, _log)
            self.buffer.finish(f"stream {self._stream_id!r} failed: {words}", error)
        finally:
            self.buffer.finish(self._stopping)  # unless it has ended by itself
            if isinstance(chunks, AsyncGenerator):
                await chunks.aclose()

    async def _stop(self, reading: asyncio.Task[None]) -> None:
        """End the source, or abandon it if it takes too long, and tell the readers."""
        reading.cancel()
        if (await asyncio.wait({reading}, timeout=STOP_WITHIN_S))[1]:
            _log.error("the source of stream %r does not end when it is cancelled", self._stream_id)
        self.stopped = self._stopping
        self.buffer.finish(self.stopped)
        self.buffer.notify()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                if self._forwarders:
                    await asyncio.wait(self._sending())
                await self._mark_done(0.0)
        for task in self._sending():
            task.cancel()

    def _sending(self) -> set[asyncio.Task[None]]:
        return {forwarder.task for forwarder in self._forwarders.values()}

    async def _renew(self) -> None:
        """Renew the sentinel's lifetime, so that it soon expires if this process dies."""
        key = sentinel(self._stream_id)
        while True:
            await asyncio.sleep(min(RENEW_S, self._sentinel_ttl / 2))
            with contextlib.suppress(Unavailable):
                if await self.broker.expire(key, self._sentinel_ttl) is False:
                    await self.broker.incr(key)  # the broker has lost it, as in a restart
                    await self.broker.expire(key, self._sentinel_ttl)

    async def _mark_done(self, within_s: float) -> None:
        """Set the sentinel to done: no process shall produce the stream again or wait for it."""
        mark = partial(self.broker.set, sentinel(self._stream_id), DONE, self._sentinel_ttl)
        try:
            await Retries(within_s, (0.1, 2.0), _log.info).run(mark)
        except Unavailable as error:
            _log.error("stream %r could not be marked done: %s", self._stream_id, error)

    def on_message(self, message: str) -> None:
        """Serve the reader that has sent this message on the channel of requests."""
        try:
            ask = decode_ask(message)
        except ValueError:
            return  # not ours
        if ask.production not in (None, self.id):
            return  # the id was used again
        forwarder = self._forwarders.get(ask.reader)
        if forwarder is not None:
            forwarder.on_ask(ask)
        elif not ask.leaves:
            forwarder = _Forwarder(self, ask)
            self._forwarders[ask.reader] = forwarder
            forwarder.task.add_done_callback(lambda _: self._forwarders.pop(ask.reader))


class _Forwarder:
    """The position of one reader in the buffer, and the task that sends it the text.

    The task ends when the reader leaves, is silent for LOST_S, or the producer stops.
    """

    def __init__(self, production: StreamProduction, ask: Ask) -> None:
        self._production = production
        self._buffer = production.buffer
        self._channel = replies(ask.reader)
        self._at = ask.at
        self._start = NOT_REACHED if ask.in_utf16 else None
        self._has_left = False
        self.on_ask(ask)
        self.task = asyncio.create_task(self._run())

    def on_ask(self, ask: Ask) -> None:
        """Note how far the reader is, and how much it has room for."""
        self._lost_at = asyncio.get_running_loop().time() + LOST_S
        if not ask.in_utf16 or self._start == NOT_REACHED:  # else it is from before the conversion
            self._limit = ask.limit
        self._has_left = self._has_left or ask.leaves
        if ask.again:
            self._at = ask.at
        self._owes_answer, self._waits_for_ask = True, False
        self._buffer.notify()

    async def _run(self) -> None:
        """Send until the reader has gone, or the producer stops."""
        loop = asyncio.get_running_loop()
        while not self._has_left and loop.time() < self._lost_at:
            changed = self._buffer.changed
            part = None if self._waits_for_ask else self._next()
            if part is not None:
                await self._send(part)
            elif self._production.stopped is not None:
                # Also after the end: a reader that missed what came before it waits no longer.
                await self._send(self._last("stopped", self._production.stopped))
                return
            else:
                with contextlib.suppress(TimeoutError):  # the reader asks meanwhile, or is lost
                    async with asyncio.timeout_at(self._lost_at):
                        await changed.wait()

    def _next(self) -> Part | None:
        """Return the part to send now, or None."""
        try:
            if self._start == NOT_REACHED:
                self._convert()
            is_due = self._start != NOT_REACHED and self._at < self._limit
            text = self._buffer.take(self._at) if is_due else ""
        except Gone as error:
            return self._last("trimmed", str(error))
        if not text and self._buffer.is_over and self._at >= self._buffer.end:
            failure = self._buffer.failure
            return self._last("end") if failure is None else self._last("failed", failure)
        if not text and not self._owes_answer:
            return None
        self._owes_answer = False
        self._at += len(text)
        return Part(self._production.id, "text", self._at - len(text), text, self._start)

    def _convert(self) -> None:
        """Count the reader's place in characters, if the text reaches it. Raises Gone."""
        start = self._buffer.position_of(self._at)
        if start is not None:
            self._limit += start - self._at
            self._at = self._start = start

    def _last(self, kind: Kind, words: str = "") -> Part:
        """Return a part after which there is nothing to send until the reader asks."""
        self._waits_for_ask = True
        return Part(self._production.id, kind, self._at, words, self._start)

    async def _send(self, part: Part) -> None:
        try:
            await self._production.broker.publish(self._channel, encode(part))
        except Unavailable as error:  # the reader asks again once the broker is back
            self._waits_for_ask = True
            _log.warning("text could not be passed on to a reader: %s", error)


def class_name(error: Exception) -> str:
    """Return the error's class name, as the default `error_text`: messages may hold secrets."""
    return type(error).__name__


def _checked_source(source: object) -> AsyncIterable[object]:
    if isinstance(source, AsyncIterable):
        return source
    if inspect.iscoroutine(source):
        source.close()
    raise NoText(
        "make_source must give an async iterable of str when it is called, not an object of type "
        f"{type(source).__name__}"
    )


def _is_text(chunk: object) -> TypeGuard[str]:
    """Return whether the chunk is text that is not empty. Raises NoText for anything else."""
    if not isinstance(chunk, str):
        raise NoText(f"a source must give str, not an object of type {type(chunk).__name__}")
    try:
        return bool(chunk if chunk.isascii() else chunk.encode())
    except UnicodeEncodeError as error:
        raise NoText("a source gave half of a surrogate pair, which is no character") from error
