"""Writing many small chunks to a stream: in batches, and each exactly once."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from typing import TYPE_CHECKING, Self

from headgate.backlog import Backlog, Limits
from headgate.backoff import Backoff
from headgate.errors import (
    ProtocolError,
    RequestRefused,
    StreamClosed,
    StreamConflict,
    StreamError,
    TooLarge,
)
from headgate.framing import framing_of, media_type
from headgate.names import CLOSED
from headgate.producer import Producer
from headgate.retries import Retries
from headgate.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    import aiohttp

    from headgate.framing import Framing
    from headgate.stream import Metadata

log = logging.getLogger("headgate")

FLUSH_INTERVAL_S = 0.010  # as long as nobody sees that a token waits
MAX_BATCH_BYTES = 256 << 10  # what every proxy and server takes as it comes
MAX_BATCH_CHUNKS = 1000  # Headgate takes 4,096 in a multi-append
MAX_BUFFER_BYTES = 1 << 20
RETRY_FOR_S = 30.0  # as long as a server takes to be started again
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0
# What is refused for what is in it: another part of the same batch may be taken.
OF_CONTENT = {400, 413, 422}


class StreamWriter:
    """Takes chunks at once and sends them in batches, one request at a time.

        async with StreamWriter(url) as writer:
            async for token in model:
                await writer.write(token)

    Entering the block asks the server for the stream's content type, unless `content_type` tells
    it, or `metadata` from a `create` or `head` before. Leaving it sends what is left, as with a
    file; when it is cancelled, what was not sent is discarded.

    What goes wrong is raised by the next call, and by every one after it: then the writer has
    ended, and `acknowledged` chunks are in the stream. Without a `producer_id` it is a producer of
    its own; with one, `epoch` must be greater than that of any earlier writer.
    """

    def __init__(  # noqa: PLR0913 - one for each option
        self,
        stream: str | Stream,
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
        authorization: str | None = None,
        session: aiohttp.ClientSession | None = None,
        note: Callable[[str], None] = log.info,
    ) -> None:
        self._is_own_stream = isinstance(stream, str)
        if isinstance(stream, str):
            stream = Stream(stream, authorization=authorization, session=session)
        self._stream = stream
        self._limits = Limits(flush_interval, max_batch_bytes, max_batch_chunks, max_buffer_bytes)
        self._backlog = Backlog(self._limits)
        self._retries = Retries(
            retry_for, Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random), note
        )
        self._producer = Producer(stream, self._retries, producer_id, epoch)
        self._content_type = content_type
        self._metadata = metadata
        self._framing: Framing | None = None
        self._block = contextlib.AsyncExitStack()
        self._sender: asyncio.Task[None] | None = None
        self._clock: Callable[[], float] = float  # the loop's, inside of the block
        self._is_open = False  # takes chunks, as far as is known
        # Why there is no writing any more, and whether the stream is to be closed with the rest.
        self._over: str | None = None
        self._is_ending = False
        self._flushed_to = 0  # chunks that are to go without waiting for others
        self._wanted = asyncio.Event()  # the sender has to look again
        self._moved = asyncio.Event()  # chunks were acknowledged, or none will be any more
        self._turn = asyncio.Lock()  # whoever waits for room keeps his place
        self._waiting = 0
        # Where the stream ends, as far as this writer knows.
        self.next_offset = metadata.next_offset if metadata is not None else None

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
        """How many chunks were written; those that add nothing do not count."""
        return self._backlog.taken

    @property
    def acknowledged(self) -> int:
        """How many chunks are in the stream, by the word of the server."""
        return self._backlog.acknowledged

    async def __aenter__(self) -> Self:
        async with contextlib.AsyncExitStack() as block:
            if self._is_own_stream:
                await block.enter_async_context(self._stream)
            metadata = self._metadata
            if metadata is None and self._content_type is None:
                metadata = await self._retries.run(self._stream.head)
            if metadata is not None:
                self._check_stream(metadata)
                self._content_type = metadata.content_type
            self._frame(takes_multi=metadata is not None and metadata.takes_multi)
            self._block = block.pop_all()
        self._clock = asyncio.get_running_loop().time
        self._sender = asyncio.create_task(self._send_all())
        self._is_open = True
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None:
                await self.close()
            elif isinstance(error, Exception):
                await self._close_after(error)
        finally:
            await self.abort()
            await self._block.aclose()

    async def write(self, chunk: object) -> None:
        """Take a chunk: bytes, str, or in a JSON stream any JSON value.

        Waits while `max_buffer_bytes` wait for the server; cancelled then, it has not taken it.
        A chunk that the stream cannot hold is a TypeError or ValueError, and harms nothing else.
        """
        if not self._is_open or self._framing is None:
            self._check_open()
        assert self._framing is not None
        data = self._framing.encode(chunk)
        if not data:  # adds nothing to bytes or text
            return
        if self._waiting or not self._backlog.has_room(len(data)):
            await self._wait_for_room(len(data))
        backlog = self._backlog
        is_first = backlog.is_empty
        backlog.take(data, self._clock)
        if is_first or backlog.is_full:
            self._wanted.set()

    async def flush(self) -> None:
        """Wait until all that was taken is in the stream."""
        self._check_open()
        await self._flush()

    async def close(self) -> None:
        """Flush, and write no more; the stream stays open. Nothing after `end` and `abort`."""
        self._check_failure()
        self._finish("the writer is closed")
        if not self._is_done():
            await self._flush()

    async def end(self) -> None:
        """Flush, and close the stream with the last batch."""
        self._check_open()
        self._finish("the writer has ended the stream")
        self._is_ending = True
        self._wanted.set()
        await self._until(self._is_done)

    async def abort(self) -> None:
        """Discard what was not sent; whether a request under way is stored stays open."""
        self._finish("the writer was aborted")
        if self._sender is not None and not self._sender.done():
            self._sender.cancel()
            await asyncio.wait({self._sender})
        self._backlog.discard()

    # ---------------------------------------------------------------- who waits

    async def _wait_for_room(self, size: int) -> None:
        self._waiting += 1
        try:
            async with self._turn:
                await self._until(lambda: self._backlog.has_room(size))
                self._check_open()
        finally:
            self._waiting -= 1

    async def _flush(self) -> None:
        target = self._flushed_to = self._backlog.taken
        self._wanted.set()
        await self._until(lambda: self._backlog.acknowledged >= target)

    async def _until(self, is_so: Callable[[], bool]) -> None:
        """Wait for the sender; raises what it failed with."""
        while not is_so():
            self._check_failure()
            if self._is_done():
                raise RuntimeError(self._over)
            await self._moved.wait()
        self._check_failure()

    async def _close_after(self, error: Exception) -> None:
        """Flush as the block ends by an error, which stays the error of the block."""
        try:
            await self.close()
        except StreamError as failure:
            if failure is not error:
                error.add_note(f"What was written before could not all be sent: {failure}")

    def _is_done(self) -> bool:
        return self._sender is not None and self._sender.done()

    def _finish(self, why: str) -> None:
        self._is_open = False
        self._over = self._over or why

    def _check_open(self) -> None:
        self._check_failure()
        if self._over is not None:
            raise RuntimeError(self._over)
        if self._sender is None or self._framing is None:
            raise RuntimeError("a writer is used as: async with StreamWriter(url) as writer")

    def _check_failure(self) -> None:
        sender = self._sender
        if sender is not None and sender.done() and not sender.cancelled():
            failure = sender.exception()
            if failure is not None:
                # Raised again and again, it would grow by each of these calls.
                raise failure.with_traceback(None)

    def _check_stream(self, metadata: Metadata) -> None:
        if metadata.is_closed:
            raise StreamClosed(f"{self._stream.shown}: the stream is closed", 409, {CLOSED: "true"})
        if not metadata.content_type:
            raise ProtocolError(f"{self._stream.shown}: the server told no Content-Type")
        wanted = self._content_type
        if wanted is not None and media_type(wanted) != media_type(metadata.content_type):
            raise StreamConflict(
                f"{self._stream.shown}: the stream is {metadata.content_type}, not {wanted}", 409
            )

    def _frame(self, *, takes_multi: bool) -> None:
        assert self._content_type is not None
        self._framing = framing_of(self._content_type, takes_multi=takes_multi)
        most = self._limits.max_batch_chunks
        self._backlog.max_batch_chunks = min(most, self._framing.max_chunks or most)

    # ---------------------------------------------------------------- the sender

    async def _send_all(self) -> None:
        try:
            is_last = False
            while not is_last:
                await self._until_due()
                batch = self._backlog.next_batch()
                is_last = self._is_ending and self._backlog.is_empty
                await self._send(batch, is_closing=is_last)
        finally:
            self._finish("the writer was aborted")
            self._tell()

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._is_ending:
            self._wanted.clear()
            due_at = None
            if not self._backlog.is_empty:
                is_urgent = self._backlog.is_full or self._flushed_to > self._backlog.acknowledged
                if is_urgent or loop.time() >= self._backlog.due_at:
                    return
                due_at = self._backlog.due_at
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(due_at):
                    await self._wanted.wait()

    async def _send(self, batch: list[bytes], *, is_closing: bool) -> None:
        """Send a batch, by halves when it is refused for what is in it."""
        try:
            await self._append(batch, is_closing=is_closing)
        except RequestRefused as refusal:
            # Whatever may be stored can only be sent again as it was.
            if refusal.status not in OF_CONTENT or self._producer.is_uncertain or not batch:
                raise
            if len(batch) == 1:
                raise self._named(refusal, batch[0]) from refusal
            if isinstance(refusal, TooLarge):
                self._backlog.max_batch_bytes = sum(map(len, batch)) // 2
            half = len(batch) // 2
            await self._send(batch[:half], is_closing=False)
            await self._send(batch[half:], is_closing=is_closing)

    async def _append(self, batch: list[bytes], *, is_closing: bool) -> None:
        assert self._framing is not None
        assert self._content_type is not None
        body, headers = self._framing.batch(batch) if batch else (b"", {})
        appended = await self._producer.append(
            body,
            content_type=self._content_type,
            headers=headers,
            is_closing=is_closing,
        )
        self._backlog.acknowledge(batch)
        if appended.takes_multi and self._framing.max_chunks is not None:
            self._frame(takes_multi=True)
        self.next_offset = appended.next_offset or self.next_offset
        self._tell()

    def _named(self, refusal: RequestRefused, chunk: bytes) -> RequestRefused:
        """The refusal of one chunk, with its number and length."""
        which = f"chunk {self.acknowledged + 1}, of {len(chunk):,} bytes"
        return type(refusal)(f"{refusal}; it was {which}", refusal.status, refusal.headers)

    def _tell(self) -> None:
        """Wake all who wait for the sender."""
        self._moved.set()
        self._moved = asyncio.Event()
