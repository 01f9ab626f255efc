"""The claim of one gateway to write a completion, which is part of the log.

The gateway that appends the request to the record of a name has the claim. Each append names its
stream by the id, and carries the epoch of its completion as a producer (PROTOCOL.md section 5.2.1).
Each has two: one for the gateway that writes it, and the next for its end, which any gateway may
write. So a completion has one end, and a writer whose completion was ended by another gateway is
refused from then on. In a log of one process nobody else can write: the claim needs no stamps.

The events and the record are two streams, and the end of a completion comes to the record last.
Until then its events say how it has ended, to any gateway that finds them ended: by the event that
parts it from the next, or, where they are closed, by the producer that has closed them.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, TypeVar, get_args

from headgate_gateway.errors import ConfigurationConflict, LogUnavailable, StreamNotFound
from headgate_gateway.features.models import record
from headgate_gateway.features.models.ends import Outcome
from headgate_gateway.features.models.streams import ENDED, TAKEN, ClaimLost
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Stamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate.dialects.progress import AnswerProgress
    from headgate_gateway.features.models.ends import Ending
    from headgate_gateway.features.models.record import EndEntry, Entry, RequestEntry
    from headgate_gateway.features.models.streams import CompletionStreams, StreamEnd
    from headgate_gateway.later import Later
    from headgate_gateway.protocol.appends import AppendOutcome

PRODUCER = "headgate.answers"
_CLOSERS: dict[str, Outcome] = {f"{PRODUCER}.{it}": it for it in get_args(Outcome)}
# Claims that a request loses to other gateways in a row; after each it finds what they have begun.
MOST_CLAIMS = 20

T = TypeVar("T")


class ClaimedStream:
    """A stream of a completion as its only writer appends to it."""

    def __init__(
        self, streams: CompletionStreams, name: str, content_type: str, number: int
    ) -> None:
        """Append to the completion with this number in its stream."""
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
        """Append what ends the completion, with a `tail` only if the stream still ends there.

        A stream that it closes with an `outcome` has that from then on (`closed_with`). The
        result has nothing `stored` if another gateway has ended it already, and raises
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


class Claim:
    """The claim to write a completion, with its two streams: the events, and the record."""

    def __init__(
        self, streams: CompletionStreams, name: str, request: RequestEntry, number: int
    ) -> None:
        """Write the completion with this number in its stream."""
        self.name = name
        self.request = request
        content_type = record.content_type_of(request)
        self.events = ClaimedStream(streams, name, content_type, number)
        self.record = ClaimedStream(streams, record.record_name(name), record.CONTENT_TYPE, number)
        self._closes = not request.is_in_named_stream
        self._streams = streams

    # The begin

    async def acquire(self, record_id: int | None, *, is_first: bool) -> None:
        """Append the request to the record of a shared log, which has this id, or raise ClaimLost.

        That of a first completion replaces one without a stored completion. In the log of one
        process the claim has been taken already: nobody else looks the name up.
        """
        body = record.encoded(self.request)
        try:
            if not is_first:
                self.record.stream_id = record_id
                if not (await self.record.append([body])).stored:
                    raise ClaimLost(TAKEN)
                return
            if record_id is not None:
                await self._streams.delete(self.record.name, record_id)
            created = await self._streams.create(
                self.record.name, record.CONTENT_TYPE, body, is_beside=True
            )
        except ConfigurationConflict:
            raise ClaimLost(ENDED) from None
        except StreamNotFound:
            raise ClaimLost("the record was deleted by another gateway") from None
        if not created.new:
            raise ClaimLost(TAKEN)
        self.record.stream_id = created.state.stream_id

    async def create_streams(self) -> None:
        """Create the streams of the completion that are not there yet. Raises HeadgateError."""
        if self.request.is_in_named_stream:  # one without a record would be somebody else's
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
        """Append the request to the record, unless `acquire` has done that."""
        if not self._streams.is_shared:
            add = self._streams.add if self.request.position else self._streams.replace
            await add(self.record.name, record.CONTENT_TYPE, record.encoded(self.request))

    async def _create_events(self) -> None:
        """Create the stream of events, replacing one whose failed completion has freed its key.

        In a shared log also in place of one without a record.
        """
        if self.request.position:
            return
        content_type = record.content_type_of(self.request)
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
            raise ClaimLost(ENDED)

    # The end

    def add_to_record(self, entry: Entry) -> Later[AppendOutcome]:
        """Append an entry, in the order of calls; the result need not be awaited."""
        return self.record.append([record.encoded(entry)])

    async def append_end(
        self, ended: Ending, progress: AnswerProgress, position: int, *, tail: int | None = None
    ) -> list[bytes]:
        """Append the failure, and close the stream or part the completion from the next.

        Return the events that say the failure, after its own ones up to `position`. Raises
        ClaimLost if something else was appended.
        """
        events = []
        if ended.failure is not None and ended.failure != progress.failure:  # else it is said
            number = progress.next_number
            events = [self.request.dialect.failure_event(ended.failure, number)]
        parting = record.parting(self.request, ended, progress.usage)
        appended = [*events, *parting]
        stored = await self.events.append_end(
            appended, ended.outcome, close=self._closes, tail=tail
        )
        end = parse_offset(stored.next_offset, "the tail").position
        is_ours = bool(stored.stored) or not any(appended)  # another end may be as long as this one
        if not is_ours or end != position + sum(map(len, appended)):
            raise ClaimLost(ENDED)
        return events

    async def record_end(self, entry: EndEntry) -> None:
        """Append the end to the record. Raises HeadgateError, ClaimLost."""
        appended = await self.record.append_end([record.encoded(entry)], close=self._closes)
        if not appended.stored:
            raise ClaimLost(ENDED)

    async def withdraw(self) -> None:
        """Delete the streams of a completion without a response to store. Raises HeadgateError."""
        await self.delete_record()
        await self._streams.delete(self.name, self.events.stream_id)

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
