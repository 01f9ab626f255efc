"""An answer of a model: requested once, written to its stream, and followed by all its readers.

The call goes on when its clients leave. What a reader gets is always durable already: an answer is
appended first, and then sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from msgspec import UNSET
from typing_extensions import override

from headgate.dialects.progress import EarlyEnd
from headgate_gateway.errors import (
    HeadgateError,
    LogUnavailable,
    OriginBroken,
    OriginTimeout,
    StreamNotFound,
    drop_frames,
)
from headgate_gateway.features.models import record
from headgate_gateway.features.models.counts import AnswerCounts
from headgate_gateway.features.models.live_answer import DELETED, LiveAnswer, WholeResponse
from headgate_gateway.features.models.record import EndEntry
from headgate_gateway.features.models.streams import ClaimLost
from headgate_gateway.features.models.unread import UNREAD
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
    from typing import TypeAlias

    from headgate_gateway.features.models.record import Outcome, RequestEntry, ResponseEntry
    from headgate_gateway.features.models.shared.claims import Claim
    from headgate_gateway.features.models.streams import AnswerStreams
    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.streams.state import StreamState

    Call: TypeAlias = Callable[[], Awaitable["StoredResponse | WholeResponse"]]

NOT_ENDED = EarlyEnd("answer_not_ended", "the provider ended its answer without the last event")
LOST = EarlyEnd("gateway_stopped", "another gateway has ended the answer")


class AnswerParts(Protocol):
    """The parts of an answer, each of which is stored when it comes."""

    def parts(self) -> AsyncGenerator[Sequence[bytes]]:
        """Yield the parts that have come together.

        Raises HeadgateError behind all of them where the answer is broken.
        """

    def unread(self) -> bytes:
        """Return what has come after the last part, once no more are read."""


class StoredResponse(NamedTuple):
    """A response whose parts are stored as they come, with its head as clients get it."""

    response: AnswerParts
    head: ResponseEntry


class WrittenAnswer(LiveAnswer):
    """An answer that this process requests and writes."""

    def __init__(
        self,
        request: RequestEntry,
        claim: Claim,
        streams: AnswerStreams,
        clock: Callable[[], float],
        on_response_id: Callable[[str], Awaitable[None]],
    ) -> None:
        """Await `on_response_id` before a reader gets the id that the provider gave the answer."""
        super().__init__(claim.name, request, streams)
        self.claim = claim
        self._state = request.dialect.progress()
        self.counts = AnswerCounts(usage=self._state.usage)
        self._clock = clock
        self._on_response_id = on_response_id
        self._has_response_id = request.dialect.retrieval is None  # or needs none
        self._head_entry: Awaitable[AppendOutcome] | None = None  # in the record, not yet durable
        self._appended_to = request.position  # durable or not
        self._stopped_by: EarlyEnd | None = None
        self._is_ending = False
        self._is_end_appended = False  # by this gateway, to the events

    @property
    @override
    def is_over(self) -> bool:
        return self.counts.outcome is not None and self._cut is None

    @property
    @override
    def outcome(self) -> Outcome | None:
        return self.counts.outcome

    def start(self, call: Call) -> asyncio.Task[None]:
        """Start a task that awaits `call`, which creates the streams and requests the answer."""
        self._task = asyncio.get_running_loop().create_task(self._run(call))
        return self._task

    @override
    def stop(self, failure: EarlyEnd) -> None:
        if self._task is not None and self._stopped_by is None and not self._is_ending:
            self._stopped_by = failure
            self._task.cancel()

    @override
    def stop_deleted(self, stream_id: int) -> None:
        if stream_id == self.claim.events.stream_id:
            self.stop(DELETED)

    # The call

    async def _run(self, call: Call) -> None:
        is_stored = False
        outcome: Outcome = "complete"
        failure: EarlyEnd | None = None
        refusal: WholeResponse | HeadgateError | None = None
        try:
            response = await call()
            if isinstance(response, StoredResponse):
                is_stored = True
                await self._write(response)
                outcome, failure = self._judged()
            else:
                refusal = response
        except asyncio.CancelledError:
            outcome, failure = self._stopped()
        except ClaimLost:
            outcome, failure = "failed", LOST if is_stored else record.RESTARTED
        except HeadgateError as error:
            outcome, failure = self._judged(error)
            refusal = error
        except Exception:  # noqa: BLE001 - its readers must not wait for ever
            log.exception("answer.failed", stream=self.streams.path(self.name))
            outcome, failure = "failed", EarlyEnd("internal_error", "the gateway failed")
            refusal = LogUnavailable("the gateway failed to store the answer")
        self._is_ending = True
        await self._end(outcome, failure, is_stored=is_stored)
        # Last, so that a client which repeats its request at once finds nothing of this one.
        if isinstance(refusal, WholeResponse):
            self._set_response(refusal)
        else:
            self._refuse(refusal or OriginBroken("the answer ended before it began"))

    def _judged(self, error: HeadgateError | None = None) -> tuple[Outcome, EarlyEnd | None]:
        """Return how the answer has ended, now that its body is over or an error has cut it."""
        state = self._state
        if error is None or isinstance(error, OriginBroken | OriginTimeout):
            if state.failure is not None:
                return record.outcome_of(state.failure), state.failure
            if state.has_ended:  # what is cut after that adds nothing
                return "complete", None
        if error is not None:
            return "failed", EarlyEnd(error.code, error.detail)
        if state.may_end:
            return "complete", None
        self.frees_key = True
        return "failed", NOT_ENDED

    def _stopped(self) -> tuple[Outcome, EarlyEnd | None]:
        """Return how the answer has ended whose call was stopped."""
        failure = self._stopped_by or record.RESTARTED
        if failure in {record.RESTARTED, UNREAD} and self._state.has_ended:
            return self._judged()
        self.frees_key = failure == UNREAD
        return "left" if self.frees_key else "aborted", failure

    async def _write(self, response: StoredResponse) -> None:
        """Append whole events as they come; the next are read once these are durable."""
        self._head_entry = self.claim.add_to_record(response.head)
        self._set_response(response.head)
        end_watch = self._watch_claim()
        try:
            async with contextlib.aclosing(response.response.parts()) as parts:
                async for events in parts:
                    await self._append(events)
                    if self.frees_key:
                        break
        except asyncio.CancelledError:
            if rest := response.response.unread():
                self.counts.count(1, len(rest), self._clock())
                # Its end, which is appended next, is awaited.
                self.claim.events.append([rest])
                self._appended_to += len(rest)
            raise
        finally:
            end_watch()

    def _watch_claim(self) -> Callable[[], None]:
        """Stop once another gateway has ended the answer; return how to end that."""
        events = self.claim.events

        def on_change(state: StreamState | None, _records: object) -> None:
            if state is None or state.stream_id != events.stream_id:
                return
            if state.closed or state.tail > self._appended_to:
                self.stop(LOST)

        if not self.streams.is_shared:  # nobody else writes to the log
            return lambda: None
        return self.streams.watch(self.name, on_change)

    async def _append(self, parts: Sequence[bytes]) -> None:
        appended = self.claim.events.append(parts)
        data = b"".join(parts)
        self._appended_to += len(data)
        for event in parts:
            self._state.add(event)
        self.frees_key = self._state.is_refused
        self.counts.count(len(parts), len(data), self._clock())
        if not self._has_response_id and (found := self.request.dialect.response_id(data)):
            self._has_response_id = True
            await self._on_response_id(found)
        stored = await appended
        if self._head_entry is not None:  # without it nobody would find the events
            await self._head_entry
            self._head_entry = None
        self._note(parts, parse_offset(stored.next_offset, "the tail").position)

    async def _end(self, outcome: Outcome, failure: EarlyEnd | None, *, is_stored: bool) -> None:
        """Write the end of the answer, after a last event that says why it is not complete."""
        try:
            await self._write_end(outcome, failure, is_stored=is_stored)
        except ClaimLost:
            outcome = await self._adopt_end()
        except StreamNotFound:
            outcome = "aborted"
            if failure is not None:
                self._note_deleted()
            with contextlib.suppress(HeadgateError):  # it expires, too
                await self.claim.delete_record()
        except HeadgateError as error:
            self._leave(error)
        finally:
            self.counts.ended_at = self._clock()
            self.counts.reason = None if failure is None else failure.sentence
            self.counts.outcome = outcome
            if self.readers is not None:
                self.readers.close()
            self.wake_readers()

    async def _write_end(
        self, outcome: Outcome, failure: EarlyEnd | None, *, is_stored: bool
    ) -> None:
        if failure == LOST and is_stored:
            raise ClaimLost("another gateway has the answer")
        if is_stored:
            await self._append_end(outcome, failure)
        if is_stored or self.request.position:  # the next request for the stream must find it
            await self.claim.record_end(self._end_entry(outcome, failure))
        else:
            await self.claim.withdraw()

    async def _append_end(self, outcome: Outcome, failure: EarlyEnd | None) -> None:
        """Append the failure, and close the stream or part the answer from the next.

        Raises ClaimLost if something else was appended.
        """
        events = []
        if failure is not None and failure != self._state.failure:  # else the provider has said so
            number = self._state.next_number
            events = [self.request.dialect.failure_event(failure, number)]
        parting = record.parting(self.request, outcome, self.counts.usage, failure)
        closes = not self.request.is_in_named_stream
        appended = [*events, *parting]
        stored = await self.claim.events.append_end(appended, outcome, close=closes)
        end = parse_offset(stored.next_offset, "the tail").position - sum(map(len, parting))
        is_ours = bool(stored.stored) or not any(appended)  # another end may be as long as this one
        if not is_ours or end != self._appended_to + sum(map(len, events)):
            raise ClaimLost("another gateway has ended the answer")
        self._is_end_appended = True
        if events:
            self._note(events, end)

    def _end_entry(self, outcome: Outcome, failure: EarlyEnd | None) -> EndEntry:
        reason = None if failure is None else failure.sentence
        usage, frees_key = self.counts.usage, self.frees_key or UNSET
        return EndEntry(outcome, self._clock(), usage, self.position, reason, frees_key)

    @override
    def next_number(self) -> int:
        return self._state.next_number

    async def _adopt_end(self) -> Outcome:
        """Let the readers go on to the end that another gateway has written; return its outcome.

        Warn unless a client has cancelled or deleted the answer there, or this gateway has ended
        its events, and the other one was first to record that: then this gateway wrote in time.
        """
        try:
            end = await self.claim.adopted_end()
        except HeadgateError as error:
            self._leave(error)
            return "failed"
        if end is None:
            return "aborted"
        if end.outcome != "aborted" and not self._is_end_appended:
            log.warning("answer.taken", stream=self.streams.path(self.name))
        self._note((), end.position)
        self.counts.count_elsewhere = True
        return end.outcome

    def _leave(self, error: HeadgateError) -> None:
        """Cut off the readers, and have the end written later."""
        drop_frames(error)
        self._cut, self.counts.count_elsewhere = error, True
        log.warning("answer.not_closed", stream=self.streams.path(self.name), reason=error.detail)
        self.claim.end_later()
