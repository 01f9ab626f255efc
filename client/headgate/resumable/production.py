"""The production of a stream: the source is read to its end, and sent to other processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING

from headgate.errors import Gone
from headgate.resumable.buffer import TextBuffer
from headgate.resumable.messages import (
    DONE,
    Part,
    decode_ask,
    encode,
    replies,
    requests,
    sentinel,
)
from headgate.resumable.source import failed, text_of
from headgate.retries import Backoff

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.resumable.contract import Broker, ErrorText, MakeSource
    from headgate.resumable.messages import Ask

RENEW_S = 10.0  # until then a stream costs nothing but its INCR and SUBSCRIBE
MARK_DONE_FOR_S = 30.0  # a broker that restarts is back by then
STOP_WITHIN_S = 5.0  # for a source to close, and then for the last words to readers
LOST_S = 30.0  # a reader asks every 5 s; one that is silent for so long has disconnected

_log = logging.getLogger("headgate.resumable")


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
        self._broker = broker
        self._sentinel_ttl = sentinel_ttl
        self._error_text = error_text
        self.buffer = TextBuffer(stream_id, max_buffer_bytes)
        self._id = secrets.token_urlsafe(12)
        self._forwarders: dict[str, _Forwarder] = {}

    async def run(self, make_source: MakeSource) -> None:
        """Read the source to its end, and stay until the readers elsewhere have everything."""
        renewing = asyncio.get_running_loop().create_task(self._renew())
        try:
            await self._read_source(make_source)
            renewing.cancel()
            await self._mark_done(MARK_DONE_FOR_S)
            while self._forwarders:
                await asyncio.wait(self._sending())
        except asyncio.CancelledError:
            renewing.cancel()
            await self._stop()
            raise
        finally:
            with contextlib.suppress(OSError):
                await self._broker.unsubscribe(requests(self._stream_id))

    async def _read_source(self, make_source: MakeSource) -> None:
        """Read the source in a task, which a cancellation abandons if it does not end in time."""
        reading = asyncio.get_running_loop().create_task(self._fill(make_source))
        try:
            await asyncio.shield(reading)
        except asyncio.CancelledError:
            reading.cancel()
            if (await asyncio.wait({reading}, timeout=STOP_WITHIN_S))[1]:
                _log.error(
                    "the source of stream %r does not end when it is cancelled", self._stream_id
                )
            raise
        except Exception as error:  # noqa: BLE001 - readers get it, whatever it is
            self.buffer.finish(failed(self._error_text, self._stream_id, error), error)
        else:
            self.buffer.finish()

    async def _fill(self, make_source: MakeSource) -> None:
        async with contextlib.aclosing(text_of(make_source)) as source:
            async for chunk in source:
                if self.buffer.is_over:
                    return  # it was abandoned after STOP_WITHIN_S
                self.buffer.append(chunk)

    async def _stop(self) -> None:
        stopped = f"the producer of stream {self._stream_id!r} was stopped"
        if not self.buffer.is_over:
            self.buffer.finish(stopped)
        for forwarder in self._forwarders.values():
            forwarder.stop(stopped)
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
            with contextlib.suppress(OSError):
                if await self._broker.expire(key, self._sentinel_ttl) is False:
                    await self._broker.incr(key)  # the broker has lost it, as in a restart
                    await self._broker.expire(key, self._sentinel_ttl)

    async def _mark_done(self, within_s: float) -> None:
        """Set the sentinel to done: no process shall produce the stream again or wait for it."""
        time, backoff = asyncio.get_running_loop().time, Backoff(0.1, 2.0)
        give_up_at = time() + within_s
        while True:
            try:
                await self._broker.set(sentinel(self._stream_id), DONE, self._sentinel_ttl)
            except OSError as error:
                wait_s = backoff.next_s()
                if time() + wait_s > give_up_at:
                    _log.error("stream %r could not be marked done: %s", self._stream_id, error)
                    return
                await asyncio.sleep(wait_s)
            else:
                return

    def on_message(self, message: str) -> None:
        """Serve the reader that has sent this message on the channel of requests."""
        try:
            ask = decode_ask(message)
        except ValueError:
            return  # not ours
        if ask.production not in (None, self._id):
            return  # the id was used again
        forwarder = self._forwarders.get(ask.reader)
        if forwarder is not None:
            forwarder.on_ask(ask)
        elif not ask.leaves:
            publish = partial(self._broker.publish, replies(ask.reader))
            forwarder = _Forwarder(self._id, self.buffer, publish, ask)
            self._forwarders[ask.reader] = forwarder
            forwarder.task.add_done_callback(lambda _: self._forwarders.pop(ask.reader))


class _Forwarder:
    """The position of one reader in the buffer, and the task that sends it the text.

    The task ends when the reader leaves, is silent for LOST_S, or the producer stops.
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
        self._owes_answer = True
        self._has_left = self._waits_for_ask = False
        self._stopped: str | None = None
        self.on_ask(ask)
        self.task = asyncio.get_running_loop().create_task(self._run())

    def on_ask(self, ask: Ask) -> None:
        """Note how far the reader is, and how much it has room for."""
        self._lost_at = asyncio.get_running_loop().time() + LOST_S
        self._limit = ask.limit
        self._has_left = self._has_left or ask.leaves
        if ask.again:
            self._at, self._owes_answer, self._waits_for_ask = ask.at, True, False
        self._buffer.notify()

    async def _run(self) -> None:
        """Send until the reader has gone, or the producer stops."""
        loop = asyncio.get_running_loop()
        while not self._has_left and loop.time() < self._lost_at:
            changed = self._buffer.changed
            part = None if self._waits_for_ask else self._next()
            if part is not None:
                await self._send(part)
            elif self._stopped is not None:
                # Also after the end: a reader that missed what came before it waits no longer.
                await self._send(Part(self._production, "stopped", self._at, self._stopped))
                return
            else:
                with contextlib.suppress(TimeoutError):  # the reader asks meanwhile, or is lost
                    async with asyncio.timeout_at(self._lost_at):
                        await changed.wait()

    def stop(self, reason: str) -> None:
        """Send what the reader has room for, its end too, and then the reason of the stop."""
        self._stopped = reason
        self._buffer.notify()

    def _next(self) -> Part | None:
        """Return the part to send now, or None."""
        try:
            text = self._buffer.take(self._at) if self._at < self._limit else ""
        except Gone as error:
            self._waits_for_ask = True
            return Part(self._production, "trimmed", self._at, str(error))
        if text or self._owes_answer:
            part = Part(self._production, "text", self._at, text)
            self._at += len(text)
            self._owes_answer = False
            return part
        if self._buffer.is_over and self._at >= self._buffer.end:
            self._waits_for_ask = True
            if self._buffer.failure is None:
                return Part(self._production, "end", self._at)
            return Part(self._production, "failed", self._at, self._buffer.failure)
        return None

    async def _send(self, part: Part) -> None:
        try:
            await self._publish(encode(part))
        except OSError as error:  # the reader asks again once the broker is back
            self._waits_for_ask = True
            _log.warning("text could not be passed on to a reader: %s", error)
