"""An answer of a model: requested once, written to its stream, and followed by all its readers.

The call goes on when its clients leave. What a reader gets is always durable already: an answer is
appended first, and then sent.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple, Protocol

from gateway.errors import HeadgateError, LogUnavailable, OriginBroken, StreamNotFound
from gateway.models import record
from gateway.models.counts.answer_counts import AnswerCounts
from gateway.models.dialects.contract import EarlyEnd, whole_body_event
from gateway.models.dialects.responses import response_id
from gateway.models.recent_events import RecentEvents
from gateway.models.sse_events import events_of
from gateway.protocol.streams.offsets import parse_offset
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from typing import TypeAlias

    from gateway.models.dialects.contract import Dialect
    from gateway.models.record import Outcome, RequestEntry, ResponseEntry
    from gateway.models.streams import AnswerStreams
    from gateway.protocol.appends import AppendOutcome

    Call: TypeAlias = Callable[[], Awaitable["StoredResponse | WholeResponse"]]

EVENT_STREAM = "text/event-stream"
# Of streams with an answer that does not stream. Streams of JSON would have its parts.
WHOLE_BODY = "application/octet-stream"
DELETED = EarlyEnd("answer_deleted", "the stream of the answer was deleted")
ABORTED = EarlyEnd("answer_aborted", "a client has aborted the request")
RESTARTED = EarlyEnd("gateway_stopped", "the gateway stopped in the middle of the answer")


def content_type_of(request: RequestEntry) -> str:
    """Return the content type of the stream with the answer to a request."""
    return WHOLE_BODY if request.is_whole or request.is_plain else EVENT_STREAM


class AnswerParts(Protocol):
    """The parts of an answer, each of which is stored when it comes."""

    def parts(self) -> AsyncGenerator[bytes]:
        """Yield the parts. Raises HeadgateError behind all of them where the answer is broken."""

    def unread(self) -> bytes:
        """Return what has come behind the last part, once no more are read."""


class StoredResponse(NamedTuple):
    """A response that is stored, with its head as clients get it.

    Its events are stored as they come; a body that does not stream is complete already.
    """

    response: AnswerParts | bytes
    head: ResponseEntry


class WholeResponse(NamedTuple):
    """A response that is not stored, because it is no stream of events: an error, for example."""

    head: ResponseEntry
    body: bytes


class WrittenAnswer:
    """An answer that this process requests and writes.

    `response` is done once the provider's response has begun: with the head that clients get, with
    the whole response if it is not stored, or with the error.
    """

    def __init__(
        self,
        name: str,
        request: RequestEntry,
        streams: AnswerStreams,
        dialect: Dialect,
        clock: Callable[[], float],
        on_response_id: Callable[[str], Awaitable[None]],
    ) -> None:
        """Await `on_response_id` before a reader gets the id that the provider gave the answer."""
        self.name = name
        self.request = request
        self.streams = streams
        self.counts = AnswerCounts()
        self.has_streams = False  # yet
        self.response: asyncio.Future[ResponseEntry | WholeResponse] = (
            asyncio.get_running_loop().create_future()
        )
        self._dialect = dialect
        self._clock = clock
        self._on_response_id = on_response_id
        self._has_response_id = request.path != dialect.retrieved_path  # or needs none
        self._recent = RecentEvents(request.position)
        self._waiting: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None
        self._stopped_by: EarlyEnd | None = None
        self._is_ending = False

    @property
    def position(self) -> int:
        """The end of the durable bytes."""
        return self._recent.position

    @property
    def is_over(self) -> bool:
        """True when nothing more will be appended."""
        return self.counts.outcome is not None

    def start(self, call: Call) -> asyncio.Task[None]:
        """Start a task that awaits `call`, which creates the streams and requests the answer."""
        self._task = asyncio.get_running_loop().create_task(self._run(call))
        return self._task

    def stop(self, failure: EarlyEnd) -> None:
        """End the call to the provider, and the answer with this failure."""
        if self._task is not None and self._stopped_by is None and not self._is_ending:
            self._stopped_by = failure
            self._task.cancel()

    async def wait_for_end(self, longest_s: float | None = None) -> None:
        """Return once the answer is over and does not run any more, or after `longest_s`."""
        assert self._task is not None, "it is started when it is made"
        await asyncio.wait([self._task], timeout=longest_s)

    # Readers

    async def wait_for_head(self) -> ResponseEntry | WholeResponse:
        """Return the head that clients get, or the whole response if it is not stored.

        Raises HeadgateError if the provider gave no response.
        """
        return await asyncio.shield(self.response)  # others wait for it, too

    def bytes_after(self, position: int) -> bytes | None:
        """Return the durable bytes after `position`; None if they are not in memory any more."""
        return self._recent.after(position)

    async def wait_beyond(self, position: int) -> None:
        """Return once there are durable bytes after `position`, or the answer is over."""
        if self.position > position or self.is_over:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    def _notify(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    # The call

    async def _run(self, call: Call) -> None:
        is_stored = False
        outcome: Outcome = "complete"
        failure: EarlyEnd | None = None
        refusal: WholeResponse | HeadgateError | None = None
        try:
            response = await call()
            if isinstance(response, StoredResponse):
                is_stored = not self.request.is_whole  # else it is once all of it is
                await self._write(response)
                is_stored = True
            else:
                refusal = response
        except asyncio.CancelledError:
            outcome, failure = "aborted", self._stopped_by or RESTARTED
        except HeadgateError as error:
            outcome, failure = "failed", EarlyEnd(error.code, error.detail)
            refusal = error
        except Exception:  # noqa: BLE001 - its readers must not wait for ever
            log.exception("answer.failed", stream=self.streams.path(self.name))
            outcome, failure = "failed", EarlyEnd("internal_error", "the gateway failed")
            refusal = LogUnavailable("the gateway failed to store the answer")
        self._is_ending = True
        await self._end(outcome, failure, is_stored=is_stored)
        # Last, so that a client which repeats its request at once finds nothing of this one.
        self._refuse(refusal or OriginBroken("the answer ended before it began"))

    def _set_response(self, response: ResponseEntry | WholeResponse) -> None:
        if not self.response.done():
            self.response.set_result(response)

    def _refuse(self, refusal: WholeResponse | HeadgateError) -> None:
        if isinstance(refusal, WholeResponse):
            self._set_response(refusal)
        elif not self.response.done():
            self.response.set_exception(refusal)
            self.response.exception()  # nobody may wait for it any more

    async def _write(self, response: StoredResponse) -> None:
        """Append whole events as they come; the next are read once these are durable.

        A body that does not stream is recorded once it is durable, so that none is half stored.
        """
        if isinstance(response.response, bytes):
            await self._append(response.response, whole_body_event(response.response))
            await self._add_to_record(response.head)
            self._set_response(response.head)
            return
        self._add_to_record(response.head)
        self._set_response(response.head)
        try:
            async with contextlib.aclosing(response.response.parts()) as parts:
                async for events in parts:
                    await self._append(events)
        except asyncio.CancelledError:
            if rest := response.response.unread():
                self.counts.count(1, len(rest), self._clock())
                # Its end, which is appended next, is awaited.
                self.streams.append(self.name, content_type_of(self.request), [rest])
            raise

    async def _append(self, events: bytes, counted: bytes | None = None) -> None:
        """Append events, or a whole body of which `counted` is an event with the same tokens."""
        is_body = counted is not None or self.request.is_plain
        messages = [events] if is_body else [*events_of(events)]
        self._dialect.add_usage(counted or events, self.counts.usage)
        self.counts.count(len(messages), len(events), self._clock())
        appended = self.streams.append(self.name, content_type_of(self.request), messages)
        if not self._has_response_id and (found := response_id(events)):
            self._has_response_id = True
            await self._on_response_id(found)
        stored = await appended
        self._note(events, parse_offset(stored.next_offset, "the tail").position)

    def _note(self, events: bytes, position: int) -> None:
        """Note durable events that end at `position`."""
        self._recent.add(events, position)
        self._notify()

    async def _end(self, outcome: Outcome, failure: EarlyEnd | None, *, is_stored: bool) -> None:
        """Write the end of the answer, after a last event that says why it is not complete."""
        try:
            if is_stored:
                await self._append_end(outcome, failure)
            if is_stored or self.request.position:
                await self._record_end(outcome, failure)
            else:
                await record.delete_beside(self.streams, self.name)
                await self.streams.delete(self.name)
        except StreamNotFound:
            outcome = "aborted"  # it was deleted: nobody can read its end
            with contextlib.suppress(HeadgateError):  # it expires, too
                await record.delete_beside(self.streams, self.name)
        except HeadgateError as error:
            log.warning(
                "answer.not_closed", stream=self.streams.path(self.name), reason=error.detail
            )
        finally:
            self.counts.ended_at = self._clock()
            self.counts.reason = None if failure is None else failure.sentence
            self.counts.outcome = outcome
            self._notify()

    async def _append_end(self, outcome: Outcome, failure: EarlyEnd | None) -> None:
        """Append the failure, and close the stream or part the answer from the next."""
        events = []
        if failure is not None:
            events = [self._dialect.failure_event(self.request.path, failure)]
        parting = record.parting(self.request, outcome, self.counts.usage, failure)
        closes = not self.request.is_in_named_stream
        stored = await self.streams.append(
            self.name, content_type_of(self.request), [*events, *parting], close=closes
        )
        tail = parse_offset(stored.next_offset, "the tail").position
        for event in events:
            self._note(event, tail - sum(map(len, parting)))

    async def _record_end(self, outcome: Outcome, failure: EarlyEnd | None) -> None:
        reason = None if failure is None else failure.sentence
        usage = self.counts.usage
        entry = record.EndEntry(outcome, self._clock(), usage, self.position, reason)
        # The next request for the stream must find it.
        await self._add_to_record(entry, close=not self.request.is_in_named_stream)

    def _add_to_record(
        self, entry: record.Entry, *, close: bool = False
    ) -> Awaitable[AppendOutcome]:
        """Append to the record in the order of calls; the result need not be awaited."""
        name, body = record.record_name(self.name), [record.encoded(entry)]
        return self.streams.append(name, record.CONTENT_TYPE, body, close=close)
