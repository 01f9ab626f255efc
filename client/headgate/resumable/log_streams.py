"""The streams of a log that a resumable stream is made of, and what they say of its producer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate.backoff import Backoff
from headgate.errors import (
    ProducerLost,
    ProtocolError,
    SourceFailed,
    StreamConflict,
    StreamNotFound,
)
from headgate.retries import Retries

if TYPE_CHECKING:
    from headgate.resumable.contract import State
    from headgate.stream import Metadata, Stream

TEXT = "text/plain; charset=utf-8"
PRODUCER_TTL_S = 30  # without a word for so long, a producer is taken for dead
FAILED, LOST = "failed", "lost"
RETRY_FOR_S = 30.0  # as long as a server takes to be started again
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0

_log = logging.getLogger("headgate.resumable")


@dataclass(frozen=True, slots=True)
class LogStreams:
    """The text; the presence of its producer, which expires; and the error, if there was one."""

    stream_id: str
    text: Stream
    ttl_s: int

    @property
    def producer(self) -> Stream:
        """Its appends are the signs of life; its disappearance is the producer's."""
        return self.text.beside(f"{self.text.url}/producer")

    @property
    def error(self) -> Stream:
        """A word for the kind of the error, and a line for people."""
        return self.text.beside(f"{self.text.url}/error")

    async def claim(self) -> Metadata | None:
        """Create the stream; None where somebody else did. Raises what `state` does.

        The producer's comes first: who finds a text without a producer ends it.
        """
        await self.producer.create(content_type=TEXT, ttl_s=PRODUCER_TTL_S)
        try:
            made = await self.text.create(content_type=TEXT, ttl_s=self.ttl_s)
        except StreamConflict:  # it may have been created and ended since it was looked for
            if await self.state() is None:
                raise
            return None
        return made if made.is_new else None

    async def beat(self) -> None:
        """Say that the producer is alive."""
        try:
            await self.producer.append(b".", content_type=TEXT)
        except StreamNotFound:  # it was held up for too long, and nobody has noticed yet
            await self.producer.create(content_type=TEXT, ttl_s=PRODUCER_TTL_S)

    async def state(self) -> State | None:
        """What the streams say; a text whose producer is gone is ended."""
        found = await self.text.find()
        if found is None:
            return None
        if not found.content_type.startswith("text/"):
            raise ProtocolError(
                f"{self.text.shown}: a stream of {found.content_type} is no resumable stream"
            )
        if found.is_closed:
            return "done"
        if await self.producer.find() is not None:
            return "active"
        found = await self.text.find()  # it may just have ended
        if found is not None and not found.is_closed:
            await self.fail(
                LOST,
                f"the producer of stream {self.stream_id!r} has not been heard of for "
                f"{PRODUCER_TTL_S} s",
            )
        return "done"

    async def end_if_lost(self) -> None:
        """End a text whose producer is gone; where it is not, that costs one request."""
        if await self.producer.find() is None:
            await self.state()

    async def fail(self, kind: str, told: str) -> None:
        """Close the text, after a note of the error that it ended with."""
        body = f"{kind}\n{told}".encode(errors="replace")
        retries = Retries(RETRY_FOR_S, Backoff(FIRST_WAIT_S, LONGEST_WAIT_S), _log.info)
        await retries.run(
            lambda: self.error.create(
                content_type=TEXT, ttl_s=self.ttl_s, is_closed=True, body=body
            )
        )
        await retries.run(self.text.close)

    async def raise_error(self) -> None:
        """Raise what the closed text ended with. Raises SourceFailed or ProducerLost."""
        error = self.error
        if await error.find() is None:
            return
        body = b"".join([part async for batch in error.catch_up() for part in batch.bodies])
        kind, _, told = body.decode().partition("\n")
        raise ProducerLost(told) if kind == LOST else SourceFailed(told)
