"""Writing many small chunks to a stream: in batches, and each exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self

from headgate.errors import Closed, Conflict, ProtocolError, StreamError, check_number
from headgate.misuse import checks_keywords
from headgate.names import CLOSED
from headgate.retries import Retries
from headgate.sending.backlog import Backlog
from headgate.sending.framing import media_type
from headgate.sending.producer import Producer
from headgate.sending.sender import Sender
from headgate.stream_requests import StreamRequests

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import aiohttp

    from headgate.endpoint import Authorization
    from headgate.stream_requests import Metadata

log = logging.getLogger("headgate")

FLUSH_INTERVAL_S = 0.010  # as long as nobody sees that a token waits
MAX_BATCH_BYTES = 256 << 10  # what every proxy and server takes as it comes
MAX_BATCH_CHUNKS = 1000  # Headgate takes 4,096 in a multi-append
MAX_BUFFER_BYTES = 1 << 20
RETRY_FOR_S = 30.0  # as long as a server takes to be started again
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0


class StreamWriter:
    """A buffered writer, which sends chunks in batches, one request at a time, each exactly once.

    ```python
    async with headgate.StreamWriter(url) as writer:
        async for token in model:
            await writer.write(token)
    ```

    Entering the block asks the server for the stream's content type, unless `content_type` tells
    it, or `metadata` from a `create` or `head` before. Leaving it sends what is left, as with a
    file; when it is cancelled, what was not sent is discarded.

    What goes wrong is raised by the next call, and by every one after it: then the writer has
    ended, and `acknowledged` chunks are in the stream. Without a `producer_id` it is a producer of
    its own; with one, `epoch` must be greater than that of any earlier writer.

    Args:
        stream: The URL of the stream; `Client.writer` takes its name.
        content_type: The content type of the stream, if it is known.
        metadata: The result of `Stream.create` or `Stream.head`, if there is one.
        producer_id: The id under which the server counts this writer's appends.
        epoch: The epoch of the producer.
        flush_interval: Seconds that a chunk waits for others at most; 0.01 by default.
        max_batch_bytes: Bytes of a batch at most; 256 KiB by default.
        max_batch_chunks: Chunks of a batch at most; 1,000 by default.
        max_buffer_bytes: Bytes that wait for the server before `write` waits; 1 MiB by default.
        retry_for: Seconds for which a failed append is repeated; 30 by default.
        authorization: The value of the `Authorization` field, for a URL.
        session: The aiohttp session, for a URL.
        note: A function called with a sentence for each retry; by default it is logged.
    """

    @checks_keywords
    def __init__(  # noqa: PLR0913 - one for each option
        self,
        stream: str | StreamRequests,
        *,
        content_type: str | None = None,
        metadata: Metadata | None = None,
        producer_id: str | None = None,
        epoch: int = 0,
        flush_interval: float = FLUSH_INTERVAL_S,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        max_batch_chunks: int = MAX_BATCH_CHUNKS,
        max_buffer_bytes: int = MAX_BUFFER_BYTES,
        retry_for: float = RETRY_FOR_S,
        authorization: Authorization | None = None,
        session: aiohttp.ClientSession | None = None,
        note: Callable[[str], None] = log.info,
    ) -> None:
        self._is_own_stream = isinstance(stream, str)
        if isinstance(stream, str):
            stream = StreamRequests(stream, authorization=authorization, session=session)
        self._stream = stream
        self._backlog = Backlog(flush_interval, max_batch_bytes, max_batch_chunks, max_buffer_bytes)
        check_number("retry_for", retry_for)
        self._retries = Retries(retry_for, (FIRST_WAIT_S, LONGEST_WAIT_S), note)
        self._producer = Producer(stream, self._retries, producer_id, epoch)
        self._content_type = content_type
        self._metadata = metadata
        self._block = contextlib.AsyncExitStack()
        self._sender = Sender(self._backlog, self._producer)
        self._clock: Callable[[], float] = float  # the loop's, inside of the block
        self._turn = asyncio.Lock()  # callers that wait for room keep their order
        self._waiting = 0

    @property
    def producer_id(self) -> str:
        """The producer that the server knows this writer by."""
        return self._producer.id

    @property
    def content_type(self) -> str:
        """The stream's content type, which is known inside of the block."""
        return self._content_type or ""

    @property
    def taken(self) -> int:
        """Number of chunks written; empty ones do not count."""
        return self._backlog.taken

    @property
    def acknowledged(self) -> int:
        """Number of chunks that the server has confirmed as stored."""
        return self._backlog.acknowledged

    @property
    def next_offset(self) -> str | None:
        """The last offset after the stream's end that this writer got; None before the first."""
        before = None if self._metadata is None else self._metadata.next_offset
        return self._sender.next_offset or before

    async def __aenter__(self) -> Self:
        self._sender.check_unused()
        async with contextlib.AsyncExitStack() as block:
            if self._is_own_stream:
                await block.enter_async_context(self._stream)
            metadata = self._metadata
            if metadata is None and self._content_type is None:
                metadata = await self._retries.run(self._stream.head)
            if metadata is not None:
                self._check_stream(metadata)
                self._metadata, self._content_type = metadata, metadata.content_type
            self._block = block.pop_all()
        takes_multi = metadata is not None and metadata.takes_multi
        self._clock = asyncio.get_running_loop().time
        self._sender.start(self.content_type, takes_multi=takes_multi)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.aclose()
            elif isinstance(error, Exception):
                await self._close_after(error)
        finally:
            await self.abort()
            await self._block.aclose()

    async def write(self, chunk: object) -> None:
        """Queue a chunk; wait while the buffer is full.

        A call that is cancelled while it waits has not queued the chunk.

        Args:
            chunk: Bytes or str; in a JSON stream any JSON value, or bytes that are JSON text.

        Raises:
            TypeError: The stream cannot hold a chunk of this type; the writer goes on.
            ValueError: The chunk has no encoding; the writer goes on.
            StreamError: An earlier chunk could not be sent; the writer has ended.
            RuntimeError: The writer is closed, or its block was not entered.
        """
        sender = self._sender
        if not sender.is_open:
            sender.check_open()
        data = sender.framing.encode(chunk)
        if not data:  # adds nothing to bytes or text
            return
        if self._waiting or not self._backlog.has_room(len(data)):
            await self._wait_for_room(len(data))
        backlog = self._backlog
        is_first = backlog.is_empty
        backlog.take(data, self._clock)
        if is_first or backlog.is_full:
            sender.wake()

    async def flush(self) -> None:
        """Send all queued chunks now, and wait until the server has stored them.

        Raises:
            StreamError: They could not be sent; the writer has ended.
        """
        self._sender.check_open()
        await self._flush()

    async def aclose(self) -> None:
        """Flush, and end the writer; the stream stays open.

        After an `end` that was cancelled, `aclose` waits for that end; after `abort`, for nothing.

        Raises:
            StreamError: The chunks could not all be sent.
        """
        sender = self._sender
        sender.check_failure()
        sender.finish("the writer is closed")
        if sender.is_done():
            return
        if sender.is_ending:
            await sender.wait(sender.is_done)
        else:
            await self._flush()

    async def end(self) -> None:
        """Flush, and close the stream with the last batch.

        Raises:
            StreamError: The chunks could not all be sent, or the stream could not be closed.
        """
        sender = self._sender
        sender.check_open()
        sender.finish("the writer has ended the stream")
        sender.end()
        await sender.wait(sender.is_done)

    async def abort(self) -> None:
        """Discard the chunks that were not sent; a request under way may or may not be stored."""
        self._sender.finish("the writer was aborted")
        await self._sender.cancel()
        self._backlog.discard()

    async def _wait_for_room(self, size: int) -> None:
        self._waiting += 1
        try:
            async with self._turn:
                await self._sender.wait(lambda: self._backlog.has_room(size))
                self._sender.check_open()
        finally:
            self._waiting -= 1

    async def _flush(self) -> None:
        target = self._backlog.taken
        self._sender.flush()
        await self._sender.wait(lambda: self._backlog.acknowledged >= target)

    async def _close_after(self, error: Exception) -> None:
        """Flush as the block ends by an error, which stays the error of the block."""
        try:
            await self.aclose()
        except StreamError as failure:
            if failure is not error:
                error.add_note(f"What was written before could not all be sent: {failure}")

    def _check_stream(self, metadata: Metadata) -> None:
        if metadata.is_closed:
            raise Closed(
                "the stream is closed",
                stream=self._stream.shown,
                status=409,
                offset=metadata.next_offset,
                headers={CLOSED: "true"},
            )
        if not metadata.content_type:
            raise ProtocolError("the server sent no Content-Type", stream=self._stream.shown)
        expected = self._content_type
        if expected is not None and media_type(expected) != media_type(metadata.content_type):
            raise Conflict(
                f"the stream is {metadata.content_type}, not {expected}",
                stream=self._stream.shown,
                status=409,
            )
