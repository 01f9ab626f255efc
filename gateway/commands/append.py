"""Appending to a stream: once, or line by line, and exactly once with a producer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.errors import ProducerFenced, RequestRefused
from headgate.stream import ProducerStamp

from gateway.commands.failure import Failed
from gateway.errors import BadRequest
from gateway.protocol.content import is_json, json_messages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from headgate.retries import Retries
    from headgate.stream import Appended, Stream


@dataclass(frozen=True, slots=True)
class Producer:
    """An idempotent writer; its appends are numbered from 0 in each epoch."""

    id: str
    epoch: int


@dataclass(slots=True)
class AppendSession:
    """The appends of one command to one stream, counted."""

    stream: Stream
    content_type: str
    headers: Mapping[str, str]
    producer: Producer | None
    # For no time but for a producer: another append might be there already.
    retries: Retries
    sent: int = 0
    # Appends that the server had from an earlier run.
    known: int = 0
    offset: str = ""

    async def append(self, body: bytes, *, is_closing: bool = False) -> None:
        """One append, tried again for as long as `retries` says."""
        try:
            appended = await self.retries.run(lambda: self._append(body, is_closing=is_closing))
        except RequestRefused as refusal:
            raise self._explained(refusal) from refusal
        self.sent += 1
        self.known += appended.is_duplicate
        # Not every server tells an offset for what it had already.
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

    def _explained(self, refusal: RequestRefused) -> Exception:
        if "Stream-Seq" in self.headers and "Stream-Seq" in str(refusal):
            return Failed(f"{refusal}; both are text, so that 10 is less than 9")
        if self.producer is None or not isinstance(refusal, ProducerFenced):
            return refusal
        return Failed(
            f"producer {self.producer.id} is at epoch {refusal.epoch}, so epoch "
            f"{self.producer.epoch} is over; take over with --epoch {refusal.epoch + 1}"
        )


async def messages(
    lines: AsyncIterator[bytes], content_type: str
) -> AsyncIterator[tuple[int, bytes]]:
    """The appends that lines make: a JSON message each, or the text with its line end.

    Each comes with the number of its line.
    """
    number = 0
    async for line in lines:
        number += 1
        if not is_json(content_type):
            yield number, line
        elif message := line.strip():
            yield number, _one_message(number, message)


def _one_message(number: int, message: bytes) -> bytes:
    """The body that appends one message, also when it is an array itself."""
    if not message.startswith(b"["):
        return message
    try:
        json_messages(message)
    except BadRequest as cause:
        raise Failed(f"line {number}: {cause.detail}") from cause
    # Servers take one level of arrays apart.
    return b"[" + message + b"]"
