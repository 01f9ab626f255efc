"""The streams of a log that a resumable stream is made of, and what they say of its producer."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

from headgate import records
from headgate.backoff import Backoff
from headgate.errors import (
    ABSENT,
    ProducerLost,
    ProtocolError,
    SourceFailed,
    StreamConflict,
)
from headgate.lease import Lease, stays_so
from headgate.notes import SPARE_S, beat_s
from headgate.records import RunState
from headgate.retries import Retries

if TYPE_CHECKING:
    from headgate.resumable.contract import State
    from headgate.stream_requests import Metadata, StreamRequests

TEXT = "text/plain; charset=utf-8"
PRODUCER_TTL_S = 30  # without a word for so long, a producer is taken for dead
RETRY_FOR_S = 30.0  # as long as a server takes to be started again
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 4.0

_log = logging.getLogger("headgate.resumable")


@dataclass(frozen=True, slots=True)
class LogStreams:
    """The text; the lease of its producer; and the record of its end, if that was an error."""

    stream_id: str
    text: StreamRequests
    ttl_s: int

    @property
    def lease(self) -> Lease:
        """The lease of the producer."""
        return Lease(self.text.beside(f"{self.text.url}/producer"), PRODUCER_TTL_S)

    @property
    def error(self) -> StreamRequests:
        """The record of an end that is not the source's own."""
        return self.text.beside(f"{self.text.url}/error")

    async def claim(self) -> Metadata | None:
        """Create the stream; None where somebody else did. Raises what `state` does.

        The lease comes first: who finds a text without a producer ends it.
        """
        await self.lease.take()
        try:
            metadata = await self.text.create(content_type=TEXT, ttl_s=self.ttl_s)
        except StreamConflict:  # it may have been created and ended since it was looked for
            if await self.state() is None:
                raise
            return None
        return metadata if metadata.is_new else None

    async def beat(self) -> None:
        """Renew the lease, to show that the producer is alive."""
        lease = self.lease
        try:
            await lease.beat()
        except ABSENT:  # it was held up for too long, and nobody has noticed yet
            await lease.take()

    async def state(self) -> State | None:
        """Return the state by the streams; end a text whose producer is gone."""
        found = await self.text.find()
        if found is None:
            return None
        if not found.content_type.startswith("text/"):
            raise ProtocolError(
                f"{self.text.shown}: a stream of {found.content_type} is no resumable stream"
            )
        if found.is_closed:
            return "done"
        if await self.lease.is_held():
            return "active"
        # Its server may just have been away, or the text may just have ended.
        if not await stays_so(self._is_left, beat_s(PRODUCER_TTL_S) + SPARE_S):
            return await self.state()
        words = f"the producer of stream {self.stream_id!r} has not been heard of for "
        await self.fail(RunState("orphaned", f"{words}{PRODUCER_TTL_S} s"))
        return "done"

    async def _is_left(self) -> bool:
        """Return whether the text has no producer, and no end."""
        if await self.lease.is_held():
            return False
        found = await self.text.find()
        return found is not None and not found.is_closed

    async def end_if_lost(self) -> None:
        """End a text whose producer is gone; where it is not, that costs one request."""
        if not await self.lease.is_held():
            await self.state()

    async def fail(self, state: RunState) -> None:
        """Close the text, after the record of how it ended."""
        body = records.end(state)
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
        state = _ended(body)
        raise (ProducerLost if state.status == "orphaned" else SourceFailed)(state.error)


def _ended(body: bytes) -> RunState:
    """Return what the record of an end tells; versions before had a word and a line for people."""
    record = records.parse_record(body)
    if record is not None and record.status is not None:
        return RunState(record.status, record.error)
    word, _, sentence = body.decode(errors="replace").partition("\n")
    return RunState("orphaned" if word == "lost" else "failed", sentence)
