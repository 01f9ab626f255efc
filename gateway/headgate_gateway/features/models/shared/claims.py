"""The claim of one gateway to write an answer, which is part of the log.

The gateway that appends the request to the record of a name has the claim. Each append names its
stream by the id, and carries the epoch of its answer as a producer (PROTOCOL.md section 5.2.1).
Each answer has two: one for the gateway that writes it, and the next for its end, which any gateway
may write. So an answer has one end, and a writer whose answer was ended by another gateway is
refused from then on. In a log of one process nobody else can write: the claim needs no stamps.

The events and the record are two streams, and the end of an answer comes to the record last. Until
then its events say how it has ended, to any gateway that finds them ended: by the event that parts
it from the next, or, where they are closed, by the producer that has closed them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, get_args

from headgate_gateway.errors import (
    ConfigurationConflict,
    HeadgateError,
    LogUnavailable,
    StreamNotFound,
)
from headgate_gateway.features.models import record
from headgate_gateway.features.models.record import EndEntry, Outcome, content_type_of
from headgate_gateway.features.models.streams import ClaimLost
from headgate_gateway.protocol.streams.state import Stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.features.models.record import Entry, RequestEntry, StreamRecord
    from headgate_gateway.features.models.shared.gateways import Gateways
    from headgate_gateway.features.models.streams import AnswerStreams, StreamEnd
    from headgate_gateway.later import Later
    from headgate_gateway.protocol.appends import AppendOutcome

PRODUCER = "headgate.answers"
_CLOSERS: dict[str, Outcome] = {f"{PRODUCER}.{it}": it for it in get_args(Outcome)}
# Claims that a request loses to other gateways in a row; after each it finds what they have begun.
MOST_CLAIMS = 20

T = TypeVar("T")


class ClaimedStream:
    """A stream of an answer as its only writer appends to it."""

    def __init__(self, streams: AnswerStreams, name: str, content_type: str, number: int) -> None:
        """Append to the answer with this number in its stream."""
        self.name = name
        self.stream_id: int | None = None  # once it is created
        self._content_type = content_type
        self._streams = streams
        self._epoch = 2 * number
        self._seq = 0

    def append(self, messages: Sequence[bytes]) -> Later[AppendOutcome]:
        """Append messages; the result raises HeadgateError, or ClaimLost if the claim is lost."""
        seq, self._seq = self._seq, self._seq + 1
        return self._append(messages, Stamp(PRODUCER, self._epoch, seq), close=False)

    def append_end(
        self,
        messages: Sequence[bytes],
        outcome: Outcome | None = None,
        *,
        close: bool,
        tail: int | None = None,
    ) -> Later[AppendOutcome]:
        """Append what ends the answer, with a `tail` only if the stream still ends there.

        A stream that it closes with an `outcome` has that from then on (`closed_with`). The
        result has nothing `stored` if another gateway has ended the answer already, and raises
        HeadgateError, ClaimLost.
        """
        producer = f"{PRODUCER}.{outcome}" if close and outcome is not None else PRODUCER
        return self._append(messages, Stamp(producer, self._epoch + 1, 0), close=close, tail=tail)

    def _append(
        self, messages: Sequence[bytes], stamp: Stamp, *, close: bool, tail: int | None = None
    ) -> Later[AppendOutcome]:
        return self._streams.append(
            self.name,
            self._content_type,
            messages,
            close=close,
            stamp=stamp if self._streams.is_shared else None,
            stream_id=self.stream_id,
            tail=tail,
        )


class ClaimedStreams:
    """The streams of an answer as its only writer appends to them: its own, and the record."""

    def __init__(
        self, streams: AnswerStreams, name: str, request: RequestEntry, number: int
    ) -> None:
        self.name = name
        self.events = ClaimedStream(streams, name, content_type_of(request), number)
        self.record = ClaimedStream(streams, record.record_name(name), record.CONTENT_TYPE, number)
        self._request = request
        self._streams = streams

    async def record_end(self, entry: EndEntry) -> None:
        """Append the end to the record. Raises HeadgateError, ClaimLost."""
        closes = not self._request.is_in_named_stream
        appended = await self.record.append_end([record.encoded(entry)], close=closes)
        if not appended.stored:
            raise ClaimLost("another gateway has ended the answer")


class Claim(ClaimedStreams):
    """The claim of this gateway to write an answer."""

    def __init__(self, gateways: Gateways, name: str, request: RequestEntry, number: int) -> None:
        super().__init__(gateways.streams, name, request, number)
        self._gateways = gateways

    async def acquire(self, found: StreamRecord) -> None:
        """Append the request to the record of a shared log, as it was found, or raise ClaimLost.

        In the log of one process it has been taken already: nobody else looks the name up.
        """
        if not self._streams.is_shared:
            return
        await self._gateways.ensure_alive()
        try:
            if found.answers:
                await self._append_request(found)
            else:
                await self._create_record(found)
        except StreamNotFound:
            raise ClaimLost("the record was deleted by another gateway") from None
        except (HeadgateError, asyncio.CancelledError):
            self.end_later()  # it may have been appended
            raise

    async def _append_request(self, found: StreamRecord) -> None:
        self.record.stream_id = found.stream_id
        appended = await self.record.append([record.encoded(self._request)])
        if not appended.stored:
            raise ClaimLost("another gateway has begun the next answer")

    async def _create_record(self, found: StreamRecord) -> None:
        """Create the record with the request in place of one without a stored answer."""
        name, body = self.record.name, record.encoded(self._request)
        if found.stream_id is not None:
            await self._streams.delete(name, found.stream_id)
        try:
            created = await self._streams.create_beside(name, record.CONTENT_TYPE, body)
        except ConfigurationConflict:
            raise ClaimLost("another gateway has ended the answer") from None
        if not created.new:
            raise ClaimLost("another gateway has begun the answer")
        self.record.stream_id = created.state.stream_id

    async def create_streams(self) -> None:
        """Create the streams of the answer that are not there yet. Raises HeadgateError."""
        if self._request.is_in_named_stream:  # one without a record would be somebody else's
            await self._add_request()
            await self._create_events()
            return
        # At once: each takes a commit. Both are over when the streams are deleted.
        made = await asyncio.gather(
            self._create_events(), self._add_request(), return_exceptions=True
        )
        for failure in made:
            if isinstance(failure, BaseException):
                raise failure

    async def _add_request(self) -> None:
        """Append the request to the record, unless the claim has done that."""
        if not self._streams.is_shared:
            add = self._streams.add if self._request.position else self._streams.replace
            await add(self.record.name, record.CONTENT_TYPE, record.encoded(self._request))

    async def _create_events(self) -> None:
        """Create the stream of events, replacing one whose failed answer has freed its key.

        In a shared log also in place of one without a record.
        """
        if self._request.position:
            return
        content_type = content_type_of(self._request)
        with suppress(ConfigurationConflict):  # it is closed
            created = await self._streams.create(self.name, content_type)
            if created.new:
                self.events.stream_id = created.state.stream_id
                return
        former = await self._streams.end(self.name)
        if self._streams.is_shared:
            await self._check_record()
        if former is not None:
            await self._streams.delete(self.name, former.stream_id)
        created = await self._streams.create(self.name, content_type)
        self.events.stream_id = created.state.stream_id

    async def _check_record(self) -> None:
        """Raise ClaimLost unless the record is that of this claim.

        A stream of events that was there before this look was then made by no later claim.
        """
        end = await self._streams.end(self.record.name)
        if end is None or end.stream_id != self.record.stream_id or end.is_closed:
            raise ClaimLost("another gateway has ended the answer")

    def add_to_record(self, entry: Entry) -> Later[AppendOutcome]:
        """Append an entry, in the order of calls; the result need not be awaited."""
        return self.record.append([record.encoded(entry)])

    async def withdraw(self) -> None:
        """Delete the streams of an answer that has no response to store. Raises HeadgateError."""
        await self.delete_record()
        await self._streams.delete(self.name, self.events.stream_id)

    async def adopted_end(self) -> EndEntry | None:
        """Return the end that another gateway has written, or None. Raises HeadgateError."""
        return await self._gateways.end_of(self.name)

    def end_later(self) -> None:
        """Leave the end of the answer to later: the log could not be written."""
        self._gateways.unended.add(self.name)

    async def delete_record(self) -> None:
        """Delete the record of a stream that is gone. Raises HeadgateError."""
        await record.delete_record(self._streams, self.name, self.record.stream_id)


def closed_with(end: StreamEnd) -> Outcome | None:
    """Return the outcome with which a stream of events was closed; None if it does not say so."""
    return None if end.closed_by is None else _CLOSERS.get(end.closed_by)


async def retry_claims(attempt: Callable[[], Awaitable[T]]) -> T:
    """Return the result of `attempt`, called again for each claim lost to another gateway.

    Each attempt finds what that gateway has begun. Raises LogUnavailable after MOST_CLAIMS.
    """
    for _ in range(MOST_CLAIMS):
        with suppress(ClaimLost):
            return await attempt()
    raise LogUnavailable("too many gateways met on this answer: nothing was sent")
