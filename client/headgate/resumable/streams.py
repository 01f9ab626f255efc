"""Streams of text that readers can resume, for any asyncio web framework."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from headgate.errors import Conflict, Unavailable, check_number
from headgate.misuse import check_make_source
from headgate.resumable.listener import Listener
from headgate.resumable.messages import DONE, IN_USE, LOST, requests, sentinel
from headgate.resumable.production import StreamProduction
from headgate.resumable.source import class_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from redis.asyncio import Redis

    from headgate.resumable.contract import Broker, ErrorText, MakeSource, State, Text
    from headgate.resumable.redis import RedisBroker

WITHDRAW_WITHIN_S = 1.0  # a caller that was refused a stream, or has gone, waits for this


class ResumableStreams(contextlib.AbstractAsyncContextManager["ResumableStreams"]):
    """Streams of text that are produced to their end, while readers come, leave and come back.

    The text goes from the process that produces it to the readers in others by the messages of a
    broker, such as Redis; none of it is stored there.

    ```python
    streams = headgate.ResumableStreams("redis://localhost")
    text = await streams.resumable("answer-17", make_source)
    ```

    Args:
        broker: The URL or client of a Redis, or a `Broker` of your own.
        sentinel_ttl: Seconds for which a stream's state is known; 2 hours by default.
        resume_timeout: Seconds that a reader waits for the producer's first response; 1 by
            default.
        max_buffer_bytes: Bytes of text that a producer keeps in memory for its readers; 64 MiB by
            default.
        keep_alive: A function called with an awaitable of each production's end, such as
            `waitUntil` of a serverless platform.
        error_text: Makes of a source's exception what readers get; its class name by default.
    """

    def __init__(
        self,
        broker: str | Redis | Broker,
        *,
        sentinel_ttl: float = 2 * 60 * 60.0,
        resume_timeout: float = 1.0,
        max_buffer_bytes: int = 64 * 1024 * 1024,
        keep_alive: Callable[[Awaitable[Any]], object] | None = None,
        error_text: ErrorText = class_name,
    ) -> None:
        check_number("sentinel_ttl", sentinel_ttl)
        check_number("resume_timeout", resume_timeout)
        check_number("max_buffer_bytes", max_buffer_bytes, is_whole=True)
        self._sentinel_ttl = sentinel_ttl
        self._resume_timeout = resume_timeout
        self._max_buffer_bytes = max_buffer_bytes
        self._keep_alive = keep_alive
        self._error_text = error_text
        self._redis: RedisBroker | None = None
        if not isinstance(broker, str) and callable(getattr(broker, "subscribe", None)):
            self._broker: Broker = broker  # type: ignore[assignment]  # a Redis has no `subscribe`
        else:
            self._broker = self._redis = _redis_broker(broker)
        self._tasks: set[asyncio.Task[None]] = set()

    async def resumable(
        self, stream_id: str, make_source: MakeSource, resume_at: int = 0
    ) -> Text | None:
        """Create the stream, or resume it if it exists.

        Args:
            stream_id: The id of the stream.
            make_source: A function that returns the text's chunks; it is called only if the
                stream is new.
            resume_at: The number of characters that the reader has already; 0 by default.

        Returns:
            The text as it comes; None if the stream is done.

        Raises:
            TypeError: An argument has the wrong type.
            ValueError: The id is empty or no text, or `resume_at` is negative.
        """
        _check(stream_id, resume_at)
        check_make_source(make_source)
        with _unavailable_on_oserror():
            count = await self._count(stream_id)
            if count is None:  # the producer is done, or lost
                return await self.resume(stream_id, resume_at)
            if count > 1:
                return await self._listen(stream_id, resume_at)
            return await self._produce(stream_id, make_source)

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
        with _unavailable_on_oserror():
            if await self._count(stream_id) != 1:
                raise Conflict(f"there is, or was until lately, a stream {stream_id!r}")
            return await self._produce(stream_id, make_source)

    async def resume(self, stream_id: str, resume_at: int = 0) -> Text | None:
        """Read a stream that another request has created.

        Args:
            stream_id: The id of the stream.
            resume_at: The number of characters that the reader has already; 0 by default.

        Returns:
            The text from there on; None if there is nothing to read.
        """
        _check(stream_id, resume_at)
        state = await self.state(stream_id)
        if state not in {"active", "lost"}:
            return None
        with _unavailable_on_oserror():
            text = await self._listen(stream_id, resume_at)
        if text is not None and state == "lost":  # its producer was only held up
            with contextlib.suppress(OSError):
                await self._broker.set(sentinel(stream_id), IN_USE, self._sentinel_ttl)
        return text

    async def state(self, stream_id: str) -> State | None:
        """Return what has become of a stream.

        Args:
            stream_id: The id of the stream.

        Returns:
            `active` while it is produced, then `done`, or `lost` if its producer is gone; None if
            it is unknown, or no longer known.
        """
        _check(stream_id)
        with _unavailable_on_oserror():
            value = await self._broker.get(sentinel(stream_id))
        if value is None:
            return None
        return "done" if value == DONE else "lost" if value == LOST else "active"

    async def aclose(self) -> None:
        """Stop what is produced in this event loop, and close the connections."""
        await asyncio.sleep(0)  # a production that was just started begins, and so ends properly
        loop = asyncio.get_running_loop()
        tasks = [task for task in list(self._tasks) if task.get_loop() is loop]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._redis is not None:
            await self._redis.aclose()

    @override
    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _count(self, stream_id: str) -> int | None:
        """Count up the sentinel; a caller cancelled in the midst of it does not keep the id."""
        counting = asyncio.ensure_future(self._broker.incr(sentinel(stream_id)))
        try:
            return await asyncio.shield(counting)
        except asyncio.CancelledError:
            if await _briefly(counting) == 1:
                await self._withdraw(stream_id)
            raise

    async def _withdraw(self, stream_id: str) -> None:
        """Free the id again, unless the broker is away."""
        await _briefly(self._broker.expire(sentinel(stream_id), 0))

    async def _produce(self, stream_id: str, make_source: MakeSource) -> Text:
        production = StreamProduction(
            stream_id, self._broker, self._sentinel_ttl, self._max_buffer_bytes, self._error_text
        )
        try:
            await self._broker.subscribe(requests(stream_id), production.on_message)
        except BaseException:  # also a cancellation: no process is going to produce it
            await _briefly(self._broker.unsubscribe(requests(stream_id)))
            await self._withdraw(stream_id)
            raise
        task = asyncio.get_running_loop().create_task(production.run(make_source))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._keep_alive is not None:
            # A host that cancels what it got ends no production.
            self._keep_alive(asyncio.ensure_future(asyncio.wait({task})))
        return production.buffer.read()

    async def _listen(self, stream_id: str, resume_at: int) -> Text | None:
        listener = Listener(stream_id, self._broker, resume_at, self._sentinel_ttl)
        text = await listener.answered(self._resume_timeout)
        if text is None:  # its producer has died, or is held up and will take this back
            await self._broker.expire(sentinel(stream_id), self._sentinel_ttl)
        return text


def _check(stream_id: str, resume_at: int = 0) -> None:
    if not isinstance(stream_id, str):
        raise TypeError(f"a stream's id is a str, not an object of {type(stream_id).__name__}")
    if not stream_id.encode():  # UnicodeEncodeError, a ValueError, for half of a surrogate pair
        raise ValueError("a stream's id is empty")
    if not isinstance(resume_at, int):
        raise TypeError(f"resume_at counts characters, as an int, not {type(resume_at).__name__}")
    if resume_at < 0:
        raise ValueError(f"resume_at counts characters from 0, and {resume_at} was given")


def _redis_broker(redis: object) -> RedisBroker:
    if not isinstance(redis, str) and not callable(getattr(redis, "pubsub", None)):
        raise TypeError(
            "a ResumableStreams is given the URL of a Redis, a client of redis.asyncio or a "
            f"Broker, and no {type(redis).__name__}"
        )
    try:
        from headgate.resumable.redis import RedisBroker
    except ImportError as error:
        raise ImportError(
            "Redis needs an extra: pip install './client[redis]' in a clone of Headgate"
        ) from error
    return RedisBroker(redis)  # type: ignore[arg-type]  # it has `pubsub`


@contextlib.contextmanager
def _unavailable_on_oserror() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Unavailable(f"the broker of resumable streams is away: {error}") from error


async def _briefly(doing: Awaitable[object]) -> object:
    """Return the result if it comes within WITHDRAW_WITHIN_S, else None."""
    with contextlib.suppress(OSError):  # also a TimeoutError
        async with asyncio.timeout(WITHDRAW_WITHIN_S):
            return await doing
    return None
