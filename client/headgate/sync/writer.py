"""Writing many small chunks to a stream from threads: in batches, and each exactly once.

Made by `python -m scripts.sync_twins` from `headgate.sending.writer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import headgate.runs.runs
import headgate.sending.writer
from headgate.misuse import checks_keywords
from headgate.sending.framing import MAX_BATCH_BYTES
from headgate.sending.writer import (
    FLUSH_INTERVAL_S,
    MAX_BATCH_CHUNKS,
    MAX_BUFFER_BYTES,
    RETRY_FOR_S,
    log,
)
from headgate.sync.twins import Twin

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate.endpoint import Authorization


class StreamWriter(Twin["headgate.sending.writer.StreamWriter"]):
    """A buffered writer, which sends chunks in batches, one request at a time, each exactly once.

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
        producer_id: The id under which the server counts this writer's appends.
        epoch: The epoch of the producer.
        flush_interval: Seconds that a chunk waits for others at most; 0.01 by default.
        max_batch_bytes: Bytes of a batch at most; 256 KiB by default.
        max_batch_chunks: Chunks of a batch at most; 1,000 by default.
        max_buffer_bytes: Bytes that wait for the server before `write` waits; 1 MiB by default.
        retry_for: Seconds for which a failed append is repeated; 30 by default.
        authorization: The value of the `Authorization` field, for a URL.
        note: A function called with a sentence for each retry; by default it is logged.
    """

    @checks_keywords
    def __init__(
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
        super().__init__(
            headgate.sending.writer.StreamWriter(
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
        )

    @property
    def producer_id(self) -> str:
        """The producer that the server knows this writer by."""
        return self._twin.producer_id

    @property
    def content_type(self) -> str:
        """The stream's content type, which is known inside of the block."""
        return self._twin.content_type

    @property
    def taken(self) -> int:
        """Number of chunks written; empty ones do not count."""
        return self._twin.taken

    @property
    def acknowledged(self) -> int:
        """Number of chunks that the server has confirmed as stored."""
        return self._twin.acknowledged

    @property
    def next_offset(self) -> str | None:
        """The last offset after the stream's end that this writer got; None before the first."""
        return self._twin.next_offset

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
        self._call(lambda twin: twin.write(chunk))

    def flush(self) -> None:
        """Send all queued chunks now, and wait until the server has stored them.

        Raises:
            StreamError: They could not be sent; the writer has ended.
        """
        self._call(lambda twin: twin.flush())

    def close(self) -> None:
        """Flush, and end the writer; the stream stays open.

        After an `end` that was interrupted, it waits for that end; after `abort`, for nothing.

        Raises:
            StreamError: The chunks could not all be sent.
        """
        self._close(lambda twin: twin.aclose())

    def end(self) -> None:
        """Flush, and close the stream with the last batch.

        Raises:
            StreamError: The chunks could not all be sent, or the stream could not be closed.
        """
        self._call(lambda twin: twin.end())

    def abort(self) -> None:
        """Discard the chunks that were not sent; a request under way may or may not be stored."""
        self._call(lambda twin: twin.abort())
