"""Streams kept in a log: their text survives the process that produces it."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import logging
import random
from typing import TYPE_CHECKING

from headgate import following
from headgate.backoff import Backoff
from headgate.endpoint import credential_of, unlimited_session
from headgate.errors import ProtocolError, StreamError, StreamExists, Unavailable
from headgate.names import stream_url
from headgate.records import RunState
from headgate.resumable.log_streams import PRODUCER_TTL_S, LogStreams
from headgate.resumable.per_loop import PerLoop
from headgate.resumable.productions import read_up
from headgate.resumable.source import text_of
from headgate.sending.writer import StreamWriter
from headgate.stream_requests import FIRST_WAIT_S, LONGEST_WAIT_S, StreamRequests

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate.endpoint import Authorization
    from headgate.following import Batch
    from headgate.resumable.contract import FailureText, MakeSource, State, Text
    from headgate.resumable.productions import Productions
    from headgate.stream_requests import Metadata

BEAT_S = PRODUCER_TTL_S / 3
LOOK_AGAIN_S = 5.0  # of a silent stream, when its producer may have died since the last look
STOP_WITHIN_S = 5.0  # for the last words of a producer whose process ends

_log = logging.getLogger("headgate.resumable")


class Durable:
    """A Backplane: one stream of the log for the text of each, which all readers follow."""

    def __init__(
        self,
        url: str,
        ttl_s: int,
        productions: Productions,
        authorization: Authorization | None = None,
    ) -> None:
        self._url = url
        self._ttl_s = ttl_s
        self._productions = productions
        self._credential = credential_of(authorization)
        self._sessions = PerLoop(unlimited_session)
        StreamRequests(stream_url(url, "id"))  # raises ValueError now rather than later

    async def resumable(
        self, stream_id: str, make_source: MakeSource, resume_at: int
    ) -> Text | None:
        """Create the stream, or read it where it exists."""
        streams = self._streams(stream_id)
        if await streams.state() is None and (metadata := await streams.claim()) is not None:
            return self._created(streams, metadata, make_source)
        return _read(streams, resume_at)

    async def create(self, stream_id: str, make_source: MakeSource) -> Text:
        """Create the stream. Raises StreamExists while it is kept."""
        streams = self._streams(stream_id)
        if await streams.state() is not None or (metadata := await streams.claim()) is None:
            raise StreamExists(f"there is a stream {stream_id!r}")
        return self._created(streams, metadata, make_source)

    async def resume(self, stream_id: str, resume_at: int) -> Text | None:
        """Read the stream, also when it is done; None where there is none."""
        streams = self._streams(stream_id)
        return None if await streams.state() is None else _read(streams, resume_at)

    async def state(self, stream_id: str) -> State | None:
        """Return the state of the stream according to its log."""
        return await self._streams(stream_id).state()

    async def aclose(self) -> None:
        """Close the connections of this event loop."""
        session = self._sessions.pop()
        if session is not None:
            await session.close()

    def _streams(self, stream_id: str) -> LogStreams:
        url = stream_url(self._url, stream_id)
        stream = StreamRequests(url, authorization=self._credential, session=self._sessions.here())
        return LogStreams(stream_id, stream, self._ttl_s)

    def _created(self, streams: LogStreams, found: Metadata, make_source: MakeSource) -> Text:
        self._productions.start(
            _produce(streams, found, make_source, self._productions.failure_text)
        )
        return _read(streams, 0)


async def _produce(
    streams: LogStreams, found: Metadata, make_source: MakeSource, failure_text: FailureText
) -> None:
    """Write the source into the log, and how it ended."""
    beating = asyncio.get_running_loop().create_task(_beat(streams))
    try:
        try:
            await read_up(streams.stream_id, _write(streams, found, make_source))
        except Exception as error:  # noqa: BLE001 - readers get it, whatever it is
            await streams.fail(RunState("failed", failure_text(streams.stream_id, error)))
    except StreamError as error:  # readers will find that the producer is gone
        _log.error("stream %r could not be ended: %s", streams.stream_id, error)
    except asyncio.CancelledError:
        with contextlib.suppress(StreamError, TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                stopped = f"the producer of stream {streams.stream_id!r} was stopped"
                await streams.fail(RunState("failed", stopped))
        raise
    finally:
        beating.cancel()


async def _write(streams: LogStreams, found: Metadata, make_source: MakeSource) -> None:
    async with (
        StreamWriter(streams.text, metadata=found) as writer,
        contextlib.aclosing(text_of(make_source)) as source,
    ):
        async for chunk in source:
            await writer.write(chunk)
        await writer.end()


async def _beat(streams: LogStreams) -> None:
    while True:
        await asyncio.sleep(BEAT_S)
        with contextlib.suppress(StreamError):  # the next one may get through
            await streams.beat()


async def _read(streams: LogStreams, resume_at: int) -> AsyncGenerator[str, None]:
    """Yield the text from a character on, and raise the stream's error, if any, at its end."""
    try:
        async with contextlib.aclosing(_text_from(streams, resume_at)) as text:
            async for chunk in text:
                yield chunk
        await streams.raise_error()
    except RuntimeError as error:  # aiohttp's
        if not streams.text.session.closed:
            raise
        raise Unavailable(f"{streams.text.shown}: ResumableStreams was closed") from error


async def _text_from(streams: LogStreams, resume_at: int) -> AsyncGenerator[str, None]:
    to_skip = resume_at
    # A character whose bytes are in two batches comes with the second.
    decoder = codecs.getincrementaldecoder("utf-8")()
    async with (
        contextlib.aclosing(_batches(streams.text)) as batches,
        contextlib.aclosing(_watched(streams, batches)) as watched,
    ):
        async for batch in watched:
            try:
                text = decoder.decode(b"".join(batch.bodies), final=batch.is_last)
            except UnicodeDecodeError as error:
                raise ProtocolError(f"{streams.text.shown}: what was read is no UTF-8") from error
            skipped = min(to_skip, len(text))
            to_skip -= skipped
            if skipped < len(text):
                yield text[skipped:]


def _batches(text: StreamRequests) -> AsyncGenerator[Batch, None]:
    """Follow the log by long-polls: SSE would turn its carriage returns into line feeds."""
    backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
    return following.follow(text, "-1", following.long_poll, backoff=backoff, note=_log.info)


async def _watched(
    streams: LogStreams, batches: AsyncGenerator[Batch, None]
) -> AsyncGenerator[Batch, None]:
    """Yield the batches; in a long silence, check whether there is still a producer.

    If there is none, the check ends the stream, and so its readers.
    """
    loop = asyncio.get_running_loop()
    look_at = loop.time() + PRODUCER_TTL_S
    looking: asyncio.Task[None] | None = None  # beside the reading: it may take seconds
    try:
        while True:
            coming = asyncio.ensure_future(anext(batches, None))
            try:
                while not (await asyncio.wait({coming}, timeout=max(0.0, look_at - loop.time())))[
                    0
                ]:
                    if looking is None or looking.done():
                        looking = asyncio.create_task(_look(streams))
                    look_at = loop.time() + LOOK_AGAIN_S
            except BaseException:
                coming.cancel()
                await asyncio.wait({coming})
                raise
            batch = coming.result()
            if batch is None:
                return
            yield batch
            if batch.bodies:
                look_at = loop.time() + PRODUCER_TTL_S
    finally:
        if looking is not None:
            looking.cancel()
            await asyncio.wait({looking})


async def _look(streams: LogStreams) -> None:
    # Following tells of a server that is away, and of a session that is closed.
    with contextlib.suppress(StreamError, RuntimeError):
        await streams.end_if_lost()
