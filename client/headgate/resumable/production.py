"""Runs one source to its end, whoever reads it, and answers the readers in other processes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.resumable.buffer import TextBuffer
from headgate.resumable.forwarder import Forwarder
from headgate.resumable.messages import Ask
from headgate.resumable.names import DONE
from headgate.resumable.productions import read_up
from headgate.resumable.source import text_of

if TYPE_CHECKING:
    from headgate.resumable.contract import Broker, FailureText, MakeSource, Text
    from headgate.resumable.names import Names

FIRST_LIFETIME_S = 10.0  # until then a stream costs nothing but its INCR and SUBSCRIBE
RENEW_S = 10.0  # how often it is renewed then: so long a broker that lost it does not know of it
MARK_DONE_FOR_S = 30.0  # a broker that restarts is back by then
STOP_WITHIN_S = 5.0  # for the last words of a producer whose process ends

_log = logging.getLogger("headgate.resumable")


class StreamProduction:
    """A stream in the process that produces it."""

    def __init__(
        self,
        names: Names,
        broker: Broker,
        sentinel_ttl: float,
        max_buffer_bytes: int,
        failure_text: FailureText,
    ) -> None:
        self._names = names
        self._broker = broker
        self._sentinel_ttl = sentinel_ttl
        self._failure_text = failure_text
        self._buffer = TextBuffer(names.stream_id, max_buffer_bytes)
        self._id = secrets.token_urlsafe(12)
        self._forwarders: dict[str, Forwarder] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @override
    def __repr__(self) -> str:
        return f"Production({self._names.stream_id!r}, {self._buffer!r})"

    async def open(self) -> None:
        """Begin to listen for readers."""
        await self._broker.subscriber.subscribe(self._names.requests, self._on_message)

    def read(self) -> Text:
        """Return the text for a reader in this event loop."""
        return self._buffer.read()

    async def run(self, make_source: MakeSource) -> None:
        """Read the source up, and stay until the readers elsewhere have everything."""
        renewing = asyncio.get_running_loop().create_task(self._renew())
        try:
            await self._read_up(make_source)
            renewing.cancel()
            await self._mark_done(MARK_DONE_FOR_S)
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            renewing.cancel()
            await self._stop()
            raise
        finally:
            with contextlib.suppress(OSError):
                await self._broker.subscriber.unsubscribe(self._names.requests)

    async def _read_up(self, make_source: MakeSource) -> None:
        try:
            await read_up(self._names.stream_id, self._fill(make_source))
        except Exception as error:  # noqa: BLE001 - readers get it, whatever it is
            self._buffer.finish(self._failure_text(self._names.stream_id, error), error)
        else:
            self._buffer.finish()

    async def _fill(self, make_source: MakeSource) -> None:
        async with contextlib.aclosing(text_of(make_source)) as source:
            async for chunk in source:
                if self._buffer.is_over:
                    return  # it was left to itself when it was to stop
                self._buffer.append(chunk)

    async def _stop(self) -> None:
        stopped = f"the producer of stream {self._names.stream_id!r} was stopped"
        if not self._buffer.is_over:
            self._buffer.finish(stopped)
        for forwarder in self._forwarders.values():
            forwarder.stop(stopped)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                if self._tasks:
                    await asyncio.wait(set(self._tasks))  # readers come and go meanwhile
                await self._mark_done(0.0)
        for task in self._tasks:
            task.cancel()

    async def _renew(self) -> None:
        """Renew the sentinel's lifetime, so that it soon expires if this process dies."""
        wait_s = FIRST_LIFETIME_S
        while True:
            await asyncio.sleep(min(wait_s, self._sentinel_ttl / 2))
            wait_s = RENEW_S
            with contextlib.suppress(OSError):
                is_renewed = await self._broker.publisher.expire(
                    self._names.sentinel, self._sentinel_ttl
                )
                if (
                    is_renewed is False
                ):  # the broker has lost what it held, as one that was restarted
                    await self._broker.publisher.incr(self._names.sentinel)
                    wait_s = 0.0  # for its lifetime

    async def _mark_done(self, within_s: float) -> None:
        """Set the sentinel to done: no process shall produce the stream again or wait for it."""
        loop = asyncio.get_running_loop()
        give_up_at, wait_s = loop.time() + within_s, 0.1
        while True:
            try:
                await self._broker.publisher.set(self._names.sentinel, DONE, self._sentinel_ttl)
            except OSError as error:
                if loop.time() + wait_s > give_up_at:
                    _log.error(
                        "stream %r could not be marked done: %s", self._names.stream_id, error
                    )
                    return
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, 2.0)
            else:
                return

    def _on_message(self, message: str) -> None:
        try:
            ask = Ask.decode(message)
        except (TypeError, ValueError):
            return  # not ours
        if ask.production not in (None, self._id):
            return  # the id was used again
        forwarder = self._forwarders.get(ask.reader)
        if forwarder is not None:
            forwarder.asked(ask)
        elif not ask.leaves:
            self._forward(ask)

    def _forward(self, ask: Ask) -> None:
        publish = partial(self._broker.publisher.publish, self._names.text(ask.reader))
        forwarder = Forwarder(self._id, self._buffer, publish, ask)
        self._forwarders[ask.reader] = forwarder
        task = asyncio.get_running_loop().create_task(forwarder.run())
        self._tasks.add(task)
        task.add_done_callback(partial(self._left, ask.reader))

    def _left(self, reader: str, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        del self._forwarders[reader]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("a reader is served no more", exc_info=error)
