"""Answers that are over: found by their records, and ended where a process has left them."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from msgspec import UNSET

from headgate.dialects.progress import AnswerProgress
from headgate.events import events_of
from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.models import record
from headgate_gateway.features.models.counts import TokenCounts
from headgate_gateway.features.models.live_answer import Answer
from headgate_gateway.features.models.record import EndEntry, StreamRecord
from headgate_gateway.features.models.shared.claims import ClaimedStreams, closed_with
from headgate_gateway.features.models.streams import ClaimLost

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator

    from headgate.dialects.progress import EarlyEnd
    from headgate_gateway.features.models.record import AnswerRecord, Outcome, RequestEntry
    from headgate_gateway.features.models.streams import AnswerStreams, StreamEnd


# Tries to end an answer: each that fails has found what another process has appended meanwhile.
MOST_ENDS = 5
# The failures of closed answers whose events do not tell it, by the outcome: a proxy's do not.
_FAILURES: dict[Outcome, EarlyEnd] = {"aborted": record.ABORTED, "failed": record.RESTARTED}


class StoredAnswers:
    """The stored answers below the folder of a route."""

    def __init__(
        self,
        streams: AnswerStreams,
        clock: Callable[[], float],
        is_written: Callable[[RequestEntry], Awaitable[bool]],
    ) -> None:
        """Ask `is_written` whether another gateway writes the answer to a request."""
        self._streams = streams
        self._clock = clock
        # Of all answers of the route whose ends this process has recorded.
        self.outcomes: Counter[Outcome] = Counter()
        self.tokens = TokenCounts()
        self._is_written = is_written

    async def records(self, name: str, *, is_running: bool = False) -> StreamRecord:
        """Return what is recorded of the answers in a stream, in order; nothing if it is gone.

        The last one is ended if it is not over, unless it `is_running`. Raises ClaimLost if
        another gateway has just begun it.
        """
        found = await record.read_record(self._streams, name)
        if is_running or not found.answers:
            return found
        is_over = found.answers[-1].end is not None
        if not is_over and await self._is_written(found.answers[-1].request):
            raise ClaimLost("another gateway has begun the answer")
        if await self._streams.end(name) is None:
            if not self._streams.is_shared:  # else others may read it, and a claim replaces it
                await record.delete_record(self._streams, name)
            return StreamRecord([], found.stream_id)
        if is_over:
            return found
        await self.finish(name)
        return await record.read_record(self._streams, name)

    async def finish(self, name: str, cause: EarlyEnd | None = None) -> bool:
        """End the last answer in a stream; return whether it was not over.

        With a `cause` also if another gateway writes it. The record of a stream that is gone is
        deleted.
        """
        for _ in range(MOST_ENDS):
            found = await record.read_record(self._streams, name)
            if not found.answers:
                return False
            end = await self._streams.end(name)
            last = found.answers[-1]
            if end is None or (last.response is None and not last.request.position):
                await self._streams.delete(name, None if end is None else end.stream_id)
                await record.delete_record(self._streams, name, found.stream_id)
                return last.end is None
            with contextlib.suppress(ClaimLost):  # another process ends it, too
                return await self._finish(name, found, end, cause)
        raise LogUnavailable("too many processes met on this answer")

    async def delete(self, name: str) -> None:
        """Delete a stream of answers with its record; if one runs, its call is stopped."""
        await self._streams.delete(name)
        await record.delete_record(self._streams, name)

    async def _finish(
        self, name: str, found: StreamRecord, end: StreamEnd, cause: EarlyEnd | None
    ) -> bool:
        """End an answer; return False if it was over, or if another gateway writes it.

        Raises ClaimLost if another process has appended something.
        """
        last = found.answers[-1]
        if last.end is not None or (cause is None and await self._is_written(last.request)):
            return False
        claim = ClaimedStreams(self._streams, name, last.request, len(found.answers) - 1)
        claim.events.stream_id, claim.record.stream_id = end.stream_id, found.stream_id
        entry = None
        if last.request.is_in_named_stream:
            entry = await self._parted(name, last, end)
        if entry is None:
            entry = await self._broken_off(claim, last.request, end, cause or record.RESTARTED)
        await claim.record_end(entry)
        self.outcomes[entry.outcome] += 1
        self.tokens.add(last.request.model, entry.usage)
        return True

    async def _parted(self, name: str, last: AnswerRecord, end: StreamEnd) -> EndEntry | None:
        """Return the end of an answer that has its parting event, and lacks the record of it."""
        latest = b""
        async for data, _ in self._streams.chunks(name, last.request.position, end):
            latest = data  # reads end behind whole events
        found = record.parting_behind(latest)
        if found is None:
            return None
        event, length = found
        position = end.tail - length
        return EndEntry(event.outcome, self._clock(), event.usage, position, event.reason)

    async def _broken_off(
        self, claim: ClaimedStreams, request: RequestEntry, end: StreamEnd, cause: EarlyEnd
    ) -> EndEntry:
        """Write the end of an answer into its stream, and return it for the record."""
        state = await self._state(claim.name, request, end)
        failure = None if state.has_ended else cause
        position = end.tail
        outcome: Outcome = "failed" if failure == record.RESTARTED else "aborted"
        if failure is None:
            outcome = "complete"
        if state.failure is not None:
            outcome, failure = record.outcome_of(state.failure), state.failure
        if (ended := closed_with(end)) is not None:  # by a process that has not recorded it
            outcome, failure = ended, state.failure or _FAILURES.get(ended)
        if not end.is_closed:
            events = []
            if failure is not None and failure != state.failure:
                events = [request.dialect.failure_event(failure, state.next_number)]
            position += len(b"".join(events))
            events += record.parting(request, outcome, state.usage, failure)
            closes = not request.is_in_named_stream
            appended = await claim.events.append_end(events, outcome, close=closes, tail=end.tail)
            if any(events) and not appended.stored:
                raise ClaimLost("another gateway has ended the answer")
        reason = None if failure is None else failure.sentence
        frees_key = state.is_refused or outcome == "left" or UNSET
        return EndEntry(outcome, self._clock(), state.usage, position, reason, frees_key)

    async def _state(self, name: str, request: RequestEntry, end: StreamEnd) -> AnswerProgress:
        """Return what the events of an answer in its stream have said."""
        if request.is_plain:
            return AnswerProgress()
        state = request.dialect.progress()
        async for data, _ in self._streams.chunks(name, request.position, end):
            for event in events_of(data):  # reads end after whole events
                state.add(event)
        return state


def stored_answers(name: str, records: Iterable[AnswerRecord]) -> Iterator[Answer]:
    """Yield the answers in a stream that got a response to store and are over."""
    for one in records:
        if one.response is not None and one.end is not None:
            yield Answer(name, one.request, one.response, one.end)
