"""A completion that this process requests and writes, for all its readers here and elsewhere.

The call goes on when its clients leave. What a reader gets is always durable already: events are
appended first, and then sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.dialects.progress import EarlyEnd, TokenUsage
from headgate_gateway.errors import (
    HeadgateError,
    LogUnavailable,
    OriginBroken,
    OriginTimeout,
    StreamNotFound,
    drop_frames,
)
from headgate_gateway.features.models import record
from headgate_gateway.features.models.completion import Completion, StoredResponse, WholeResponse
from headgate_gateway.features.models.ends import (
    DELETED,
    INTERNAL,
    LOST,
    NOT_ENDED,
    RESTARTED,
    UNREAD,
    UNREAD_S,
    Ending,
    ending,
)
from headgate_gateway.features.models.streams import ClaimLost
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    from headgate_gateway.features.models.claims import Claim
    from headgate_gateway.features.models.ends import Cause, Outcome
    from headgate_gateway.features.models.store import CompletionStore
    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.streams.state import StreamState
    from headgate_gateway.web.requests.request import Request

    Call: TypeAlias = Callable[[], Awaitable[StoredResponse | WholeResponse]]

LOOK_S = 0.5  # between two looks at the readers of the stream
_CAUSES: dict[EarlyEnd, Cause] = {UNREAD: "unread", RESTARTED: "stopping"}  # others: "stopped"


@dataclass(slots=True)
class CompletionCounts:
    """Counts of one completion while it comes; times are epoch seconds."""

    usage: TokenUsage = field(default_factory=TokenUsage)
    # Another process has recorded the end, or one will later, and counts the completion.
    count_elsewhere: bool = False
    events: int = 0
    first_events: int = 0  # those that came together with the first one
    size: int = 0  # bytes of the events
    first_at: float | None = None
    last_at: float | None = None

    def count(self, events: int, size: int, now: float) -> None:
        """Count events of the provider that have come together."""
        self.events += events
        self.size += size
        self.last_at = now
        if self.first_at is None:
            self.first_at, self.first_events = now, events


class WrittenCompletion(Completion):
    """A completion that this process requests and writes."""

    def __init__(
        self,
        claim: Claim,
        store: CompletionStore,
        on_response_id: Callable[[str], Awaitable[None]],
        unread: UnreadWatch | None,
    ) -> None:
        """Await `on_response_id` before a reader gets the id that the provider gave.

        Stop the call once all readers have left, as `unread` finds.
        """
        super().__init__(claim.name, claim.request, store.streams, is_live=True)
        self.claim = claim
        self._store = store
        self._progress = claim.request.dialect.progress()
        self.counts = CompletionCounts(usage=self._progress.usage)
        has_ids = claim.request.dialect.retrieval is not None
        self._on_response_id = on_response_id if has_ids else None  # until it has come
        self._head_entry: Awaitable[AppendOutcome] | None = None  # in the record, not yet durable
        self._appended_to = claim.request.position  # durable or not
        self._stopped_by: EarlyEnd | None = None
        self._is_ending = False
        self._is_end_appended = False  # by this gateway, to the events
        self._unread = unread

    def start(self, call: Call) -> asyncio.Task[None]:
        """Start a task that awaits `call`, which creates the streams and requests the response."""
        self._task = asyncio.get_running_loop().create_task(self._run(call))
        return self._task

    @override
    def begin_reading(self, request: Request) -> None:
        if self._unread is not None:
            request.limit_grace(0.0)
            self._unread.begin(request, self)

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
        cause: Cause = "failed"
        failure = NOT_ENDED
        refusal: WholeResponse | HeadgateError | None = None
        try:
            refusal = await self._write(await call())
            cause = "over"
        except asyncio.CancelledError:
            failure = self._stopped_by or RESTARTED
            cause = _CAUSES.get(failure, "stopped")
        except ClaimLost:
            failure = RESTARTED if self.head is None else LOST
        except HeadgateError as error:
            failure, refusal = EarlyEnd(error.code, error.detail), error
            cause = "broken" if isinstance(error, OriginBroken | OriginTimeout) else "failed"
        except Exception:  # noqa: BLE001 - its readers must not wait for ever
            log.exception("answer.failed", stream=self.streams.path(self.name))
            failure, refusal = INTERNAL, LogUnavailable("the gateway failed to store the answer")
        self._is_ending = True
        is_whole = isinstance(refusal, WholeResponse)
        ended = Ending("complete") if is_whole else ending(cause, self._progress, failure)
        self.frees_key = ended.frees_key
        await self._end(ended)
        # Last, so that a client which repeats its request at once finds nothing of this one.
        if isinstance(refusal, WholeResponse):
            self._set_response(refusal)
        else:
            self._refuse(refusal or OriginBroken("the answer ended before it began"))

    async def _write(self, response: StoredResponse | WholeResponse) -> WholeResponse | None:
        """Append whole events as they come; the next are read once these are durable.

        Return the response if it is not stored.
        """
        if isinstance(response, WholeResponse):
            return response
        self.head = response.head
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
                self.counts.count(1, len(rest), self._store.clock())
                # Its end, which is appended next, is awaited.
                self.claim.events.append([rest])
                self._appended_to += len(rest)
            raise
        finally:
            end_watch()
        return None

    def _watch_claim(self) -> Callable[[], None]:
        """Stop once another gateway has ended the completion; return how to end that."""
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
            self._progress.add(event)
        self.frees_key = self._progress.is_refused
        self.counts.count(len(parts), len(data), self._store.clock())
        on_id = self._on_response_id
        if on_id is not None and (found := self.request.dialect.response_id(data)):
            self._on_response_id = None
            await on_id(found)
        stored = await appended
        if self._head_entry is not None:  # without it nobody would find the events
            await self._head_entry
            self._head_entry = None
        self._note(parts, parse_offset(stored.next_offset, "the tail").position)

    async def _end(self, ended: Ending) -> None:
        """Write the end of the completion, after a last event that says why it is not complete."""
        outcome = ended.outcome
        try:
            await self._write_end(ended)
        except ClaimLost:
            outcome = await self._adopt_end()
        except StreamNotFound:
            outcome = "aborted"
            if ended.failure is not None:
                self._note_deleted()
            with contextlib.suppress(HeadgateError):  # it expires, too
                await self.claim.delete_record()
        except HeadgateError as error:
            self._leave(error)
        finally:
            self.end = self._end_entry(ended._replace(outcome=outcome))
            if self._unread is not None:
                self._unread.close()
            self.wake_readers()

    async def _write_end(self, ended: Ending) -> None:
        if ended.failure == LOST and self.head is not None:
            raise ClaimLost("another gateway has the answer")
        if self.head is not None:
            events = await self.claim.append_end(ended, self._progress, self._appended_to)
            self._is_end_appended = True
            if events:
                self._note(events, self._appended_to + sum(map(len, events)))
        if self.head is None and not self.request.position:
            await self.claim.withdraw()
        else:  # the next request for the stream must find it
            await self.claim.record_end(self._end_entry(ended))

    def _end_entry(self, ended: Ending) -> record.EndEntry:
        return record.end_entry(ended, self._store.clock(), self.counts.usage, self.position)

    @override
    def next_number(self) -> int:
        return self._progress.next_number

    async def _adopt_end(self) -> Outcome:
        """Let the readers go on to the end that another gateway has written; return its outcome.

        Warn unless a client has cancelled or deleted the completion there, or this gateway has
        ended its events, and the other one was first to record that: then this one wrote in time.
        """
        try:
            end = await self._store.end_of(self.name)
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
        self._store.unended.add(self.name)


class UnreadWatch:
    """The readers of one completion here: those at its route, and live ones of its stream.

    The completion is stopped once nobody has read it for UNREAD_S, unless its route is closing.
    """

    def __init__(self, is_closing: Callable[[], bool]) -> None:
        self._is_closing = is_closing
        self._count = 0  # at the route
        self._is_over = False
        self._read_at = 0.0  # loop time at which it was read last
        self._next_look: asyncio.TimerHandle | None = None

    def begin(self, request: Request, completion: WrittenCompletion) -> None:
        """Count one more request at the route, until its end."""
        self._count += 1
        self._look_no_more()

        def leave() -> None:
            """Begin to look for readers of the stream if this was the last one at the route."""
            self._count -= 1
            if not self._count and not self._is_over:
                self._read_at = asyncio.get_running_loop().time()
                self._look(completion)

        request.call_at_end(leave)

    def close(self) -> None:
        """Look no further: the completion is over, and the next one may be in its stream."""
        self._is_over = True
        self._look_no_more()

    def _look_no_more(self) -> None:
        if self._next_look is not None:
            self._next_look.cancel()

    def _look(self, completion: WrittenCompletion) -> None:
        loop = asyncio.get_running_loop()
        if completion.streams.has_live_readers(completion.name):
            self._read_at = loop.time()
        if loop.time() < self._read_at + UNREAD_S:
            self._next_look = loop.call_later(LOOK_S, self._look, completion)
        elif not self._is_closing():
            completion.stop(UNREAD)
