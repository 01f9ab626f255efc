"""Streams of text that readers can resume, for any asyncio web framework."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from typing import TYPE_CHECKING, Any, TypeVar, get_args

from typing_extensions import override

from headgate.errors import Conflict, Unavailable, check_number
from headgate.misuse import check_error_text, check_make_source
from headgate.names import not_text
from headgate.resumable.choice import broker_maker
from headgate.resumable.listener import Listener
from headgate.resumable.messages import DONE, Unit, requests, sentinel
from headgate.resumable.production import StreamProduction, class_name
from headgate.shielding import shielded

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from redis.asyncio import Redis, RedisCluster

    from headgate.resumable.brokers import Broker, Publisher, Subscriber
    from headgate.resumable.messages import ErrorText, MakeSource, State, Text

T = TypeVar("T")
MOST_TTL_S = 100 * 365 * 24 * 60 * 60  # of a sentinel: Redis counts milliseconds in 64 bits
WITHDRAW_WITHIN_S = 1.0  # a caller that was refused a stream waits for this

_log = logging.getLogger("headgate.resumable")


class ResumableStreams(contextlib.AbstractAsyncContextManager["ResumableStreams"]):
    """Streams of text that are produced to their end, while readers come, leave and come back.

    The text goes from the process that produces it to the readers in others by the messages of a
    Redis; none of it is stored there.

    ```python
    streams = headgate.ResumableStreams("redis://localhost")
    text = await streams.resumable("answer-17", make_source)
    ```

    Args:
        redis: The URL of a Redis, such as `redis://user:password@host:6379/0`, or a client of
            `redis.asyncio`, which stays open. By default it is the URL in the environment variable
            `REDIS_URL`, or in `KV_URL`.
        publisher: In place of a Redis, a client for commands, as `Publisher` says.
        subscriber: With the publisher, a client for subscriptions, as `Subscriber` says.
        sentinel_ttl: Seconds for which a stream's state is known; 2 hours by default.
        resume_timeout: Seconds that a reader waits for the producer's first response; 1 by
            default.
        max_buffer_bytes: Bytes of text that a producer keeps in memory for its readers; 64 MiB by
            default.
        keep_alive: A function, such as `waitUntil` of a serverless platform, that is called once
            for each stream that is produced here, with an awaitable of its end.
        error_text: Makes of a source's exception what readers get; its class name by default.
        unit: What each `resume_at` counts: `characters`, as Python does, by default; or `utf-16`,
            as `text.length` does in JavaScript.

    Raises:
        TypeError: An argument has the wrong type, or does not go with another one.
        ValueError: A number is out of its range, the URL is invalid, or there is none.
    """

    def __init__(  # noqa: PLR0913 - the settings of an application, each by its name
        self,
        redis: str | Redis | RedisCluster | None = None,
        *,
        publisher: Publisher | None = None,
        subscriber: Subscriber | None = None,
        sentinel_ttl: float = 2 * 60 * 60.0,
        resume_timeout: float = 1.0,
        max_buffer_bytes: int = 64 * 1024 * 1024,
        keep_alive: Callable[[Awaitable[None]], object] | None = None,
        error_text: ErrorText = class_name,
        unit: Unit = "characters",
    ) -> None:
        check_number("sentinel_ttl", sentinel_ttl)
        if sentinel_ttl > MOST_TTL_S:  # it would be found out at the end of each stream
            raise ValueError(
                f"sentinel_ttl is at most {MOST_TTL_S:,} s, 100 years, not {sentinel_ttl:,}"
            )
        check_number("resume_timeout", resume_timeout)
        check_number("max_buffer_bytes", max_buffer_bytes, is_whole=True)
        if inspect.iscoroutinefunction(keep_alive) or not callable(keep_alive or print):
            raise TypeError("keep_alive is a function without async, which takes an awaitable")
        check_error_text(error_text)
        if unit not in get_args(Unit):
            raise ValueError(f"unit is {' or '.join(map(repr, get_args(Unit)))}, not {unit!r}")
        self._sentinel_ttl = sentinel_ttl
        self._resume_timeout = resume_timeout
        self._max_buffer_bytes = max_buffer_bytes
        self._keep_alive = keep_alive
        self._error_text = error_text
        self._unit: Unit = unit
        self._make_broker, self._is_owned = broker_maker(redis, publisher, subscriber)
        self._broker: Broker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    async def resumable(
        self, stream_id: str, make_source: MakeSource, resume_at: int = 0
    ) -> Text | None:
        """Create the stream, or resume it if it exists.

        Args:
            stream_id: The id of the stream.
            make_source: A function that returns the text's chunks; it is called only if the
                stream is new.
            resume_at: How much of the text the reader has already, by `unit`; 0 by default.

        Returns:
            The text as it comes; None if the stream is done.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The id is empty or no text, or `resume_at` is negative.
        """
        _check(stream_id, resume_at)
        check_make_source(make_source)
        text = await self._created(stream_id, make_source)
        return text or await self.resume(stream_id, resume_at)

    async def create(self, stream_id: str, make_source: MakeSource) -> Text:
        """Create the stream, and return its text as it comes.

        Args:
            stream_id: The id of the stream.
            make_source: A function that returns the text's chunks.

        Raises:
            Conflict: The id is in use.
        """
        _check(stream_id)
        check_make_source(make_source)
        text = await self._created(stream_id, make_source)
        if text is None:
            raise Conflict(f"there is, or was until lately, a stream {stream_id!r}")
        return text

    async def resume(self, stream_id: str, resume_at: int = 0) -> Text | None:
        """Read a stream that another request has created.

        Args:
            stream_id: The id of the stream.
            resume_at: How much of the text the reader has already, by `unit`; 0 by default.

        Returns:
            The text from there on; None if there is nothing to read.
        """
        _check(stream_id, resume_at)
        if await self.state(stream_id) != "active":
            return None
        broker = self._broker_here()
        listener = Listener(stream_id, broker, resume_at, self._unit)
        text = await listener.answered(self._resume_timeout)
        if text is None:  # its producer has died, or is held up and will take this back
            await broker.expire(sentinel(stream_id), self._sentinel_ttl)
        return text

    async def state(self, stream_id: str) -> State | None:
        """Return what has become of a stream.

        Args:
            stream_id: The id of the stream.

        Returns:
            `active` while it is produced, and after its producer has died; then `done`; None if it
            is unknown, or no longer known.
        """
        _check(stream_id)
        value = await self._broker_here().get(sentinel(stream_id))
        return None if value is None else "done" if value == DONE else "active"

    async def aclose(self, wait: float = 10.0) -> None:
        """Let what is produced in this event loop end, then stop it, and close the connections.

        A client, publisher or subscriber of yours stays open.

        Args:
            wait: Seconds for which sources may go on; 10 by default.
        """
        check_number("wait", wait, is_finite=True)
        if self._broker is None or self._loop is not asyncio.get_running_loop():
            return  # nothing is open here
        await asyncio.sleep(0)  # a production that was just started begins, and so ends properly
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + wait
        while self._tasks and (left_s := ends_at - loop.time()) > 0:  # a creation begins another
            await asyncio.wait(self._tasks, timeout=left_s)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._broker.aclose()
        if not self._is_owned:
            self._broker = self._loop = None

    @override
    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    def _broker_here(self) -> Broker:
        """Return the broker in this event loop. Raises RuntimeError if another one has it."""
        loop = asyncio.get_running_loop()
        if self._broker is None or self._loop is not loop:
            if self._loop is not None and self._is_owned:
                raise RuntimeError(
                    "this ResumableStreams has a client of another event loop: make a client and "
                    "a ResumableStreams in each"
                )
            if self._loop is not None and not self._loop.is_closed():
                raise RuntimeError(
                    "this ResumableStreams is open in another event loop: close it there, or make "
                    "another"
                )
            self._loop, self._broker, self._tasks = loop, self._make_broker(), set()
        return self._broker

    async def _created(self, stream_id: str, make_source: MakeSource) -> Text | None:
        """Return the text of a new stream; None if the id is in use.

        A stream is created although its caller is cancelled meanwhile, as it outlives its readers.
        """
        return await shielded(
            self._begin(self._create(self._broker_here(), stream_id, make_source))
        )

    async def _create(self, broker: Broker, stream_id: str, make_source: MakeSource) -> Text | None:
        key, channel = sentinel(stream_id), requests(stream_id)
        if await broker.incr(key) != 1:
            return None
        production = StreamProduction(
            stream_id, broker, self._sentinel_ttl, self._max_buffer_bytes, self._error_text
        )
        try:
            await broker.subscribe(channel, production.on_message)
        except BaseException:  # no process is going to produce it: its id is free again
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(WITHDRAW_WITHIN_S):
                    await broker.unsubscribe(channel)
                    await broker.expire(key, 0)
            raise
        self._keep_process(self._begin(production.run(make_source)))
        return production.buffer.read()

    def _keep_process(self, producing: asyncio.Task[None]) -> None:
        """Call `keep_alive` with a future that ends as the production does, without its result."""
        if self._keep_alive is not None:
            ended = asyncio.get_running_loop().create_future()  # to cancel it ends no production
            producing.add_done_callback(lambda _: None if ended.done() else ended.set_result(None))
            try:
                self._keep_alive(ended)
            except Exception as error:  # noqa: BLE001 - the stream goes on, whatever it is
                _log.warning("keep_alive failed", exc_info=error)

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what `aclose` ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _check(stream_id: str, resume_at: int = 0) -> None:
    if not isinstance(stream_id, str):
        raise not_text(stream_id, "a stream's id is a str")
    if not stream_id.encode():  # UnicodeEncodeError, a ValueError, for half of a surrogate pair
        raise ValueError("a stream's id is empty")
    check_number("resume_at", resume_at, is_whole=True)
