"""Writing many small chunks to a stream: in batches, and each exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Self

from headgate.errors import Closed, Conflict, ProtocolError, StreamError, TooLarge, check_number
from headgate.misuse import ForAsyncio, checks_keywords
from headgate.retries import Retries
from headgate.sending.backlog import Backlog
from headgate.sending.framing import MAX_BATCH_BYTES, Framing, check_content_type, media_type
from headgate.sending.producer import Producer
from headgate.stream_requests import StreamRequests

if TYPE_CHECKING:
    from collections.abc import Callable

    import aiohttp

    from headgate.endpoint import Authorization
    from headgate.stream_requests import Metadata

log = logging.getLogger("headgate")

FLUSH_INTERVAL_S = 0.010  # as long as nobody sees that a token waits
MAX_BATCH_CHUNKS = 1000  # Headgate takes 4,096 in a multi-append
MAX_BUFFER_BYTES = 1 << 20
RETRY_FOR_S = 30.0  # as long as a server takes to be started again
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0
# What is refused for what is in it: another part of the same batch may be taken.
OF_CONTENT = {400, 413, 422}
NOT_ENTERED = (
    "a writer is used in its block: async with hg.writer(name) as writer, and in headgate.sync "
    "`with`"
)
OPEN = "the writer is open: make another one"
CLOSED = "the writer is closed: make another one"
ENDED = "the writer has ended the stream: make another one, for another stream"
ABORTED = "the writer was aborted: make another one"
LOOP_ENDED = "the event loop in which the writer was opened has ended: make another one in this one"


class StreamWriter(ForAsyncio):
    """A buffered writer, which sends chunks in batches, one request at a time, each exactly once.

    ```python
    async with headgate.StreamWriter(url) as writer:
        async for token in model:
            await writer.write(token)
    ```

    Entering the block asks the server for the stream's content type, unless `content_type` tells
    it, or `metadata` from a `create` or `head` before. Leaving it sends what is left, as with a
    file; when it is interrupted, what was not sent is discarded.

    What goes wrong is raised by the next call, and by every one after it: then the writer has
    ended, and `acknowledged` chunks are in the stream. Without a `producer_id` it is a producer of
    its own; with one, `epoch` must be greater than that of any earlier writer. Several threads may
    use one writer of `headgate.sync`.

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
        self._block: contextlib.AbstractAsyncContextManager[object] = contextlib.nullcontext()
        if not isinstance(stream, StreamRequests):
            self._block = stream = StreamRequests(
                stream, authorization=authorization, session=session
            )
        self._stream = stream
        self._backlog = Backlog(flush_interval, max_batch_bytes, max_batch_chunks, max_buffer_bytes)
        check_number("retry_for", retry_for)
        self._retries = Retries(retry_for, (FIRST_WAIT_S, LONGEST_WAIT_S), note)
        self._producer = Producer(stream, self._retries, producer_id, epoch)
        check_content_type(content_type)
        self._framing = Framing(content_type or "", takes_multi=False)
        self._metadata = metadata
        self._next_offset: str | None = None
        self._clock: Callable[[], float] = float  # the loop's, inside of the block
        self._task: asyncio.Task[None] | None = None  # sends the batches
        self._over: str | None = NOT_ENTERED  # why no chunks are taken
        self._ends_stream = False  # by the last batch
        self._wanted = asyncio.Event()  # the task has something to look at
        self._moved = asyncio.Event()  # set after the next batch, and at the end
        self._turn = asyncio.Lock()  # callers that wait for room keep their order
        self._waiting = 0

    @property
    def producer_id(self) -> str:
        """The producer that the server knows this writer by."""
        return self._producer.id

    @property
    def content_type(self) -> str:
        """The stream's content type, which is known inside of the block."""
        return self._framing.content_type

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
        return self._next_offset

    async def __aenter__(self) -> Self:
        if self._over is not NOT_ENTERED:  # its producer has one sequence of batches
            raise RuntimeError(self._over or OPEN)
        async with contextlib.AsyncExitStack() as block:
            await block.enter_async_context(self._block)
            metadata = self._metadata
            if metadata is None and not self.content_type:
                metadata = await self._retries.run(self._stream.head)
            if metadata is not None:
                _check(metadata, self.content_type, self._stream.shown)
                self._next_offset = metadata.next_offset
                self._framing = Framing(metadata.content_type, takes_multi=metadata.takes_multi)
            self._block = block.pop_all()
        self._backlog.takes_batches = self._framing.takes_batches
        self._clock = asyncio.get_running_loop().time
        self._over = None
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        try:
            if error is None:
                await self.aclose()
            elif isinstance(error, Exception):  # it stays the error of the block
                try:
                    await self.aclose()
                except StreamError as failure:
                    if failure is not error:
                        error.add_note(f"What was written before could not all be sent: {failure}")
        finally:
            await self.abort()
            await self._block.__aexit__(None, None, None)

    async def write(self, chunk: object) -> None:
        """Queue a chunk; wait while the buffer is full.

        A call that is interrupted while it waits has not queued the chunk.

        Args:
            chunk: Bytes or str; in a JSON stream any JSON value, or bytes that are JSON text.

        Raises:
            TypeError: The stream cannot hold a chunk of this type; the writer goes on.
            ValueError: The chunk has no encoding; the writer goes on.
            StreamError: An earlier chunk could not be sent; the writer has ended.
            RuntimeError: The writer is closed, or its block was not entered.
        """
        if self._over is not None:
            self._check()
        data = self._framing.encode(chunk)
        if not data:  # adds nothing to bytes or text
            return
        if self._waiting or not self._backlog.has_room(len(data)):
            await self._wait_for_room(len(data))
        if self._backlog.take(data, self._clock):
            self._wanted.set()

    async def flush(self) -> None:
        """Send all queued chunks now, and wait until the server has stored them.

        Raises:
            StreamError: They could not be sent; the writer has ended.
        """
        self._check()
        self._backlog.flushed = target = self._backlog.taken
        self._wanted.set()
        await self._wait(lambda: self._backlog.acknowledged >= target)

    async def aclose(self) -> None:
        """Flush, and end the writer; the stream stays open.

        After an `end` that was interrupted, it waits for that end; after `abort`, for nothing.

        Raises:
            StreamError: The chunks could not all be sent.
        """
        await self._finish(CLOSED)

    async def end(self) -> None:
        """Flush, and close the stream with the last batch.

        Raises:
            StreamError: The chunks could not all be sent, or the stream could not be closed.
        """
        self._check()
        self._ends_stream = True
        await self._finish(ENDED)

    async def abort(self) -> None:
        """Discard the chunks that were not sent; a request under way may or may not be stored."""
        self._over = self._over or ABORTED
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})

    def _check(self, *, is_open: bool = True) -> None:
        """Raise what the sending failed with, and RuntimeError unless the writer takes chunks."""
        task = self._task
        if task is not None and task.done() and not task.cancelled():
            failure = task.exception()
            if failure is not None:
                # Raised again and again, it would grow by each of these calls.
                raise failure.with_traceback(None)
        if is_open and self._over is not None:
            raise RuntimeError(self._over)

    async def _finish(self, why: str) -> None:
        """Take no more chunks, and wait until what was taken is sent."""
        self._over = self._over or why
        task = self._task
        if task is not None and not task.done():
            self._wanted.set()
            await asyncio.wait({task})
            if task.cancelled():
                raise RuntimeError(ABORTED)
        self._check(is_open=False)

    async def _wait(self, is_so: Callable[[], bool]) -> None:
        """Wait until `is_so`; raise what ended the sending before."""
        assert self._task is not None, "it was entered"
        while not is_so():
            if self._task.done():
                self._check()
            await self._moved.wait()

    async def _wait_for_room(self, size: int) -> None:
        self._waiting += 1
        try:
            async with self._turn:
                await self._wait(lambda: self._backlog.has_room(size))
                self._check()
        finally:
            self._waiting -= 1

    async def _run(self) -> None:
        """Send until the writer is over and its backlog empty. Raises StreamError."""
        try:
            is_last = False
            while not is_last:
                await self._until_due()
                batch = self._backlog.next_batch()
                is_last = self._over is not None and self._backlog.is_empty
                if batch or self._ends_stream:
                    is_last = await self._is_sent(batch, is_last=is_last) and is_last
                self._moved.set()
                self._moved = asyncio.Event()
        finally:  # where nothing ended it, asyncio.run has cancelled it
            self._over = self._over or LOOP_ENDED
            self._moved.set()

    async def _until_due(self) -> None:
        while self._over is None:
            self._wanted.clear()
            due_at = self._backlog.due_at()
            if due_at is not None and due_at <= self._clock():
                return
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wanted.wait()

    async def _is_sent(self, batch: list[bytes], *, is_last: bool) -> bool:
        """Send a batch; return False if it was refused, and is to be sent in parts."""
        body, headers = self._framing.batch(batch) if batch else (b"", {})
        try:
            appended = await self._producer.append(
                body,
                content_type=self.content_type,
                headers=headers,
                is_closing=is_last and self._ends_stream,
            )
        except StreamError as refusal:
            # Whatever may be stored can only be sent again as it was.
            if refusal.status not in OF_CONTENT or self._producer.is_uncertain or not batch:
                raise
            if len(batch) == 1:
                refusal._name_chunk(self._backlog.acknowledged + 1, len(batch[0]))
                raise
            self._backlog.halve(batch, is_too_long=isinstance(refusal, TooLarge))
            return False
        self._backlog.acknowledge(batch)
        if appended.takes_multi:
            self._backlog.takes_batches = True
        self._next_offset = appended.next_offset or self._next_offset
        return True


def _check(metadata: Metadata, expected: str, shown: str) -> None:
    """Raise Closed, ProtocolError or Conflict for a stream that cannot be written to."""
    if metadata.is_closed:
        offset = metadata.next_offset
        raise Closed("the stream is closed", stream=shown, status=409, offset=offset)
    if not metadata.content_type:
        raise ProtocolError("the server sent no Content-Type", stream=shown)
    if expected and media_type(expected) != media_type(metadata.content_type):
        reason = f"the stream is {metadata.content_type}, not {expected}: leave out content_type"
        raise Conflict(reason, stream=shown, status=409)
