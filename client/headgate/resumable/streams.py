"""Streams of text that readers can resume, for any asyncio web framework."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

from headgate.errors import Conflict, Unavailable, check_number
from headgate.misuse import check_make_source
from headgate.resumable.listener import Listener
from headgate.resumable.messages import DONE, requests, sentinel
from headgate.resumable.production import StreamProduction, class_name

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from headgate.resumable.messages import ErrorText, MakeSource, State, Text

T = TypeVar("T")
WITHDRAW_WITHIN_S = 1.0  # a caller that was refused a stream waits for this


class ResumableStreams(contextlib.AbstractAsyncContextManager["ResumableStreams"]):
    """Streams of text that are produced to their end, while readers come, leave and come back.

    The text goes from the process that produces it to the readers in others by the messages of a
    Redis; none of it is stored there.

    ```python
    streams = headgate.ResumableStreams("redis://localhost")
    text = await streams.resumable("answer-17", make_source)
    ```

    Args:
        url: The URL of a Redis, such as `redis://user:password@host:6379/0`.
        sentinel_ttl: Seconds for which a stream's state is known; 2 hours by default.
        resume_timeout: Seconds that a reader waits for the producer's first response; 1 by
            default.
        max_buffer_bytes: Bytes of text that a producer keeps in memory for its readers; 64 MiB by
            default.
        error_text: Makes of a source's exception what readers get; its class name by default.
    """

    def __init__(
        self,
        url: str,
        *,
        sentinel_ttl: float = 2 * 60 * 60.0,
        resume_timeout: float = 1.0,
        max_buffer_bytes: int = 64 * 1024 * 1024,
        error_text: ErrorText = class_name,
    ) -> None:
        check_number("sentinel_ttl", sentinel_ttl)
        check_number("resume_timeout", resume_timeout)
        check_number("max_buffer_bytes", max_buffer_bytes, is_whole=True)
        self._sentinel_ttl = sentinel_ttl
        self._resume_timeout = resume_timeout
        self._max_buffer_bytes = max_buffer_bytes
        self._error_text = error_text
        if not isinstance(url, str):
            raise TypeError(
                f"a ResumableStreams is given the URL of a Redis, and no {type(url).__name__}"
            )
        try:
            from headgate.resumable.redis import RedisBroker
        except ImportError as error:
            raise ImportError(
                "Redis needs an extra: pip install './client[redis]' in a clone of Headgate"
            ) from error
        self._broker = RedisBroker(url)
        self._tasks: set[asyncio.Task[Any]] = set()

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
            resume_at: The number of characters that the reader has already; 0 by default.

        Returns:
            The text from there on; None if there is nothing to read.
        """
        _check(stream_id, resume_at)
        if await self.state(stream_id) != "active":
            return None
        text = await Listener(stream_id, self._broker, resume_at).answered(self._resume_timeout)
        if text is None:  # its producer has died, or is held up and will take this back
            await self._broker.expire(sentinel(stream_id), self._sentinel_ttl)
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
        value = await self._broker.get(sentinel(stream_id))
        return None if value is None else "done" if value == DONE else "active"

    async def aclose(self) -> None:
        """Stop what is produced in this event loop, and close the connections."""
        await asyncio.sleep(0)  # a production that was just started begins, and so ends properly
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._broker.aclose()

    @override
    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def _created(self, stream_id: str, make_source: MakeSource) -> Text | None:
        """Return the text of a new stream; None if the id is in use.

        A stream is created although its caller is cancelled meanwhile, as it outlives its readers.
        """
        return await asyncio.shield(self._begin(self._create(stream_id, make_source)))

    async def _create(self, stream_id: str, make_source: MakeSource) -> Text | None:
        key, channel = sentinel(stream_id), requests(stream_id)
        if await self._broker.incr(key) != 1:
            return None
        production = StreamProduction(
            stream_id, self._broker, self._sentinel_ttl, self._max_buffer_bytes, self._error_text
        )
        try:
            await self._broker.subscribe(channel, production.on_message)
        except BaseException:  # no process is going to produce it: its id is free again
            with contextlib.suppress(Unavailable, TimeoutError):
                async with asyncio.timeout(WITHDRAW_WITHIN_S):
                    await self._broker.unsubscribe(channel)
                    await self._broker.expire(key, 0)
            raise
        self._begin(production.run(make_source))
        return production.buffer.read()

    def _begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run what `aclose` ends."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _check(stream_id: str, resume_at: int = 0) -> None:
    if not isinstance(stream_id, str):
        raise TypeError(f"a stream's id is a str, not an object of {type(stream_id).__name__}")
    if not stream_id.encode():  # UnicodeEncodeError, a ValueError, for half of a surrogate pair
        raise ValueError("a stream's id is empty")
    check_number("resume_at", resume_at, is_whole=True)
