"""Streams of text that a reader can come back to, for any asyncio web framework."""

from __future__ import annotations

import inspect
import math
from functools import partial
from typing import TYPE_CHECKING, Self

from headgate.errors import check_number
from headgate.resumable.contract import Broker
from headgate.resumable.durable import Durable
from headgate.resumable.productions import Productions
from headgate.resumable.pubsub import PubSub, PubSubSettings
from headgate.resumable.source import class_name, failed

if TYPE_CHECKING:
    from types import TracebackType

    from redis.asyncio import Redis

    from headgate.endpoint import Authorization
    from headgate.keep_alive import KeepAlive
    from headgate.resumable.contract import Backplane, ErrorText, MakeSource, State, Text

SENTINEL_TTL_S = 2 * 60 * 60.0
RESUME_TIMEOUT_S = 1.0
MAX_BUFFER_BYTES = 64 * 1024 * 1024


class ResumableStreams:
    """Streams of text that are produced to their end, while readers come, leave and come back.

    ```python
    streams = headgate.ResumableStreams("redis://localhost")
    text = await streams.resumable("answer-17", make_source)
    ```

    Args:
        backplane: The URL or client of a Redis, the `http` URL that streams of a log are made
            below, or a `Broker`.
        sentinel_ttl: Seconds for which a stream's state is known; 2 hours by default.
        resume_timeout: Seconds that a reader waits for the producer's first response; 1 by
            default.
        max_buffer_bytes: Bytes of text that a producer keeps in memory for its readers; 64 MiB by
            default. Streams of a log have no such bound.
        keep_alive: A function called with an awaitable of each production's end, such as
            `waitUntil` of a serverless platform.
        authorization: The value of the `Authorization` field, for streams of a log.
        error_text: Makes of a source's exception what readers get; its class name by default.
    """

    def __init__(  # noqa: PLR0913 - one for each option
        self,
        backplane: str | Redis | Broker,
        *,
        sentinel_ttl: float = SENTINEL_TTL_S,
        resume_timeout: float = RESUME_TIMEOUT_S,
        max_buffer_bytes: int = MAX_BUFFER_BYTES,
        keep_alive: KeepAlive | None = None,
        authorization: Authorization | None = None,
        error_text: ErrorText = class_name,
    ) -> None:
        check_number("sentinel_ttl", sentinel_ttl)
        check_number("resume_timeout", resume_timeout)
        check_number("max_buffer_bytes", max_buffer_bytes, is_whole=True)
        self._productions = Productions(keep_alive, partial(failed, error_text))
        if isinstance(backplane, str) and backplane.startswith(("http://", "https://")):
            ttl_s = max(1, math.ceil(sentinel_ttl))
            self._backplane: Backplane = Durable(backplane, ttl_s, self._productions, authorization)
        else:
            settings = PubSubSettings(sentinel_ttl, resume_timeout, max_buffer_bytes)
            self._backplane = _pubsub(backplane, settings, self._productions)

    async def resumable(
        self, stream_id: str, make_source: MakeSource, resume_at: int | None = None
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
        _check_source(make_source)
        return await self._backplane.resumable(stream_id, make_source, resume_at or 0)

    async def create(self, stream_id: str, make_source: MakeSource) -> Text:
        """Create the stream, and return its text as it comes.

        Args:
            stream_id: The id of the stream.
            make_source: A function that returns the text's chunks.

        Raises:
            StreamExists: The id is in use.
        """
        _check(stream_id)
        _check_source(make_source)
        return await self._backplane.create(stream_id, make_source)

    async def resume(self, stream_id: str, resume_at: int | None = None) -> Text | None:
        """Read a stream that another request has created.

        Args:
            stream_id: The id of the stream.
            resume_at: The number of characters that the reader has already; 0 by default.

        Returns:
            The text from there on; None if there is nothing to read.
        """
        _check(stream_id, resume_at)
        return await self._backplane.resume(stream_id, resume_at or 0)

    async def state(self, stream_id: str) -> State | None:
        """Return what has become of a stream.

        Args:
            stream_id: The id of the stream.

        Returns:
            `active` while it is produced, then `done`, or `lost` if its producer is gone; None if
            it is unknown, or no longer known.
        """
        _check(stream_id)
        return await self._backplane.state(stream_id)

    async def aclose(self) -> None:
        """Stop what is produced in this event loop, and close the connections."""
        await self._productions.stop()
        await self._backplane.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()


def _check(stream_id: str, resume_at: int | None = None) -> None:
    if not isinstance(stream_id, str):
        raise TypeError(f"a stream's id is a str, not an object of {_type(stream_id)}")
    try:
        is_empty = not stream_id.encode()
    except UnicodeEncodeError as error:
        raise ValueError("a stream's id holds half of a surrogate pair") from error
    if is_empty:
        raise ValueError("a stream's id is empty")
    if not isinstance(resume_at, int | None):
        raise TypeError(f"resume_at counts characters, as an int, and is no {_type(resume_at)}")
    if resume_at is not None and resume_at < 0:
        raise ValueError(f"resume_at counts characters from 0, and {resume_at} was given")


def _type(value: object) -> str:
    return type(value).__name__


def _check_source(make_source: object) -> None:
    """Raise TypeError for what is no function, before the stream's id is used up."""
    if not callable(make_source):
        if inspect.iscoroutine(make_source):
            make_source.close()
        raise TypeError(
            "make_source is a function that gives the text, such as `answer` and not `answer()`: "
            f"give the function, without calling it, and no {_type(make_source)}"
        )


def _pubsub(
    broker: str | Redis | Broker, settings: PubSubSettings, productions: Productions
) -> PubSub:
    if isinstance(broker, Broker):
        return PubSub(broker, settings, productions)
    if not isinstance(broker, str) and not callable(getattr(broker, "pubsub", None)):
        raise TypeError(
            "a ResumableStreams is given the URL of a Redis or of streams on a server, a client of "
            f"redis.asyncio or a Broker, and no {_type(broker)}"
        )
    try:
        from headgate.resumable.redis.broker import RedisBroker
    except ImportError as error:
        raise ImportError("Redis needs the extra: pip install 'headgate-client[redis]'") from error
    redis = RedisBroker(broker)
    return PubSub(Broker(redis, redis), settings, productions, redis.aclose)
