"""Appending to a stream: once, or line by line, and exactly once with a producer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.commands.client import RequestRefused, Stream
from gateway.commands.failure import Failed
from gateway.errors import BadRequest
from gateway.protocol.content import is_json, json_messages
from gateway.protocol.header_names import NEXT_OFFSET

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from gateway.commands.patience import Patience


@dataclass(frozen=True, slots=True)
class Producer:
    """An idempotent writer; its appends are numbered from 0 in each epoch."""

    id: str
    epoch: int

    def headers(self, number: int) -> dict[str, str]:
        """The fields that make the append of this number happen once."""
        return {
            "Producer-Id": self.id,
            "Producer-Epoch": str(self.epoch),
            "Producer-Seq": str(number),
        }


@dataclass(slots=True)
class Appender:
    """Appends to one stream and counts them."""

    stream: Stream
    headers: Mapping[str, str]
    producer: Producer | None
    # Of no length but for a producer: another append might be there already.
    patience: Patience
    sent: int = 0
    # Appends that the server had from an earlier run.
    known: int = 0
    offset: str = ""

    async def append(self, body: bytes) -> None:
        """One append, repeated as far as the patience goes."""
        headers = dict(self.headers)
        if self.producer is not None:
            headers |= self.producer.headers(self.sent)
        try:
            await self.patience.outlast(lambda: self._post(body, headers))
        except RequestRefused as refusal:
            raise self._explained(refusal) from refusal

    async def _post(self, body: bytes, headers: Mapping[str, str]) -> None:
        async with self.stream.request("POST", headers=headers, body=body) as answer:
            self.sent += 1
            if self.producer is not None and answer.status == 204:
                # Not every server tells an offset for what it had already.
                self.known += 1
                self.offset = answer.headers.get(NEXT_OFFSET, self.offset)
            else:
                self.offset = self.stream.next_offset(answer.headers)

    def _explained(self, refusal: RequestRefused) -> RequestRefused:
        if "Stream-Seq" in self.headers and "--seq" in str(refusal):
            return RequestRefused(
                f"{refusal}; both are text, so that 10 is less than 9", refusal.status
            )
        epoch = refusal.headers.get("Producer-Epoch", "")
        if self.producer is None or refusal.status != 403 or not epoch.isdecimal():
            return refusal
        return RequestRefused(
            f"producer {self.producer.id} is at epoch {epoch}, so epoch {self.producer.epoch} "
            f"is over; take over with --epoch {int(epoch) + 1}",
            refusal.status,
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
