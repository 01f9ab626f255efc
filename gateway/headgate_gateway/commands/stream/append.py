"""Appending to a stream, exactly once with a producer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.errors import Fenced, StreamError, StreamNotFound
from headgate.stream_requests import ProducerStamp
from headgate_gateway.tools.shell.failure import Failed
from headgate_gateway.tools.shell.patience import CommandRetries, tell

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from headgate.retries import Retries
    from headgate.stream_requests import Appended, StreamRequests


@dataclass(frozen=True, slots=True)
class CommandProducer:
    """An idempotent writer; its appends are numbered from 0 in each epoch."""

    id: str
    epoch: int


async def begun(
    stream: StreamRequests,
    headers: Mapping[str, str],
    producer: CommandProducer | None,
    say: Callable[[str], None] = tell,
) -> AppendSession:
    """Open a session of appends with the content type asked for, else with the stream's."""
    # Without a producer, the server could not recognise a repeated append.
    patience = CommandRetries(say, is_repeatable=producer is not None)
    content_type = headers.get("Content-Type")
    if content_type is None:
        try:
            content_type = (await patience.run(stream.head)).content_type
        except StreamNotFound as refusal:
            raise Failed(_with_advice(refusal)) from refusal
    return AppendSession(stream, content_type, headers, producer, patience)


@dataclass(slots=True)
class AppendSession:
    """The appends of one command to one stream, counted."""

    stream: StreamRequests
    content_type: str
    headers: Mapping[str, str]
    producer: CommandProducer | None
    retries: Retries
    sent: int = 0
    # Appends that the server had from an earlier run.
    known: int = 0
    offset: str = ""

    async def append(self, body: bytes, *, is_closing: bool = False) -> None:
        """Append `body`, and try again for as long as `retries` says."""
        try:
            appended = await self.retries.run(lambda: self._append(body, is_closing=is_closing))
        except StreamError as refusal:
            explained = self._explained(refusal)
            if explained is None:
                raise
            raise Failed(explained) from refusal
        self.sent += 1
        self.known += appended.is_duplicate
        # Not every server sends an offset for a duplicate.
        self.offset = appended.next_offset or self.offset

    async def _append(self, body: bytes, *, is_closing: bool) -> Appended:
        producer = self.producer
        stamp = None
        if producer is not None:
            stamp = ProducerStamp(producer.id, producer.epoch, self.sent)
        return await self.stream.append(
            body,
            content_type=self.content_type,
            producer=stamp,
            is_closing=is_closing,
            headers=self.headers,
        )

    def _explained(self, refusal: StreamError) -> str | None:
        """Return what else is to be said of a refusal; None for one that says all."""
        if refusal.code == "sequence_regression":
            return f"{refusal}; both are text, so that 10 is less than 9"
        if isinstance(refusal, StreamNotFound):
            return _with_advice(refusal)
        if self.producer is None or not isinstance(refusal, Fenced):
            return None
        return (
            f"producer {self.producer.id} is at epoch {refusal.epoch}, so epoch "
            f"{self.producer.epoch} is over; take over with --epoch {refusal.epoch + 1}"
        )


def _with_advice(refusal: StreamNotFound) -> str:
    return f"{refusal}; headgate create makes it"


def leading_to(offset: str) -> str:
    """Return the end of a sentence about appends: the next offset, if it is known."""
    return f"; next offset {offset}" if offset else ""


def closed(stream: StreamRequests, offset: str | None) -> str:
    """Return the sentence about a stream that was closed, and its final offset."""
    return f"Closed {stream.shown}; final offset {offset}."
