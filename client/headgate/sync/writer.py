"""Writing many small chunks to a stream from threads: in batches, and each exactly once."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Self

import headgate.sending.writer
from headgate.sending.writer import (
    FLUSH_INTERVAL_S,
    MAX_BATCH_BYTES,
    MAX_BATCH_CHUNKS,
    MAX_BUFFER_BYTES,
    RETRY_FOR_S,
)
from headgate.sync.loop_thread import current

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from headgate.endpoint import Authorization
    from headgate.sync.loop_thread import LoopThread

log = logging.getLogger("headgate")


class StreamWriter:
    """A buffered writer for threads, which sends chunks in batches, one request at a time.

    ```python
    with headgate.sync.StreamWriter(url) as writer:
        for token in model:
            writer.write(token)
    ```

    Several threads may use one writer.

    Args:
        stream: The URL of the stream.
        content_type: The content type of the stream, if it is known.
        producer_id: The id under which the server counts this writer's appends.
        epoch: The epoch of the producer.
        flush_interval: Seconds that a chunk waits for others at most.
        max_batch_bytes: Bytes of a batch at most.
        max_batch_chunks: Chunks of a batch at most.
        max_buffer_bytes: Bytes that wait for the server before `write` waits.
        retry_for: Seconds for which a failed append is repeated.
        authorization: The value of the `Authorization` field.
        note: A function called with a sentence for each retry; by default it is logged.
    """

    def __init__(  # noqa: PLR0913 - one for each option
        self,
        stream: str,
        *,
        content_type: str | None = None,
        producer_id: str | None = None,
        epoch: int = 0,
        flush_interval: float = FLUSH_INTERVAL_S,
        max_batch_bytes: int = MAX_BATCH_BYTES,
        max_batch_chunks: int = MAX_BATCH_CHUNKS,
        max_buffer_bytes: int = MAX_BUFFER_BYTES,
        retry_for: float = RETRY_FOR_S,
        authorization: Authorization | None = None,
        note: Callable[[str], None] = log.info,
    ) -> None:
        self._writer = headgate.sending.writer.StreamWriter(
            stream,
            content_type=content_type,
            producer_id=producer_id,
            epoch=epoch,
            flush_interval=flush_interval,
            max_batch_bytes=max_batch_bytes,
            max_batch_chunks=max_batch_chunks,
            max_buffer_bytes=max_buffer_bytes,
            retry_for=retry_for,
            authorization=authorization,
            note=note,
        )
        self._opened_in: LoopThread | None = None

    @property
    def producer_id(self) -> str:
        """The producer that the server knows this writer by."""
        return self._writer.producer_id

    @property
    def content_type(self) -> str:
        """The stream's content type, which is known inside of the block."""
        return self._writer.content_type

    @property
    def taken(self) -> int:
        """Number of chunks written; empty ones do not count."""
        return self._writer.taken

    @property
    def acknowledged(self) -> int:
        """Number of chunks that the server has confirmed as stored."""
        return self._writer.acknowledged

    @property
    def next_offset(self) -> str | None:
        """The last offset behind the stream's end that this writer got; None before the first."""
        return self._writer.next_offset

    def __enter__(self) -> Self:
        self._opened_in = current()
        self._opened_in.enter(self._writer)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._opened_in is not None:
            self._opened_in.leave(self._writer, kind, error, traceback)

    def write(self, chunk: object) -> None:
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
        self._thread().call(self._writer.write, chunk)

    def flush(self) -> None:
        """Send all queued chunks now, and wait until the server has stored them.

        Raises:
            StreamError: They could not be sent; the writer has ended.
        """
        self._thread().call(self._writer.flush)

    def close(self) -> None:
        """Flush, and end the writer; the stream stays open.

        After an `end` that was interrupted, `close` waits for that end; after `abort`, for nothing.

        Raises:
            StreamError: The chunks could not all be sent.
        """
        self._thread().call(self._writer.close)

    def end(self) -> None:
        """Flush, and close the stream with the last batch.

        Raises:
            StreamError: The chunks could not all be sent, or the stream could not be closed.
        """
        self._thread().call(self._writer.end)

    def abort(self) -> None:
        """Discard the chunks that were not sent; a request under way may or may not be stored."""
        self._thread().call(self._writer.abort)

    def _thread(self) -> LoopThread:
        """Return the loop that this is open in. Raises RuntimeError where there is none."""
        thread = self._opened_in
        if thread is None:
            raise RuntimeError("a writer is used as: with StreamWriter(url) as writer")
        if thread is not current():
            raise RuntimeError(
                f"this writer belongs to the process that opened it, not to {os.getpid()}, "
                "which was forked from that one: open another"
            )
        return thread
