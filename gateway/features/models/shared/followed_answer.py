"""An answer that another gateway writes, followed through the log."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING

from headgate.events import events_of
from typing_extensions import override

from gateway.errors import (
    HeadgateError,
    OriginBroken,
    OriginTimeout,
    OriginUnreachable,
    ServerStopping,
    StreamClosed,
    StreamGone,
    StreamNotFound,
)
from gateway.features.models import record
from gateway.features.models.live_answer import DELETED, LiveAnswer, WholeResponse
from gateway.features.models.record import (
    EndEntry,
    ResponseEntry,
    StopEntry,
    entries_from,
    look_again,
)
from gateway.streams.follower import RELOAD_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate.dialects.progress import EarlyEnd

    from gateway.features.models.record import StreamRecord, UnstoredResponse
    from gateway.features.models.running import RunningAnswers
    from gateway.features.models.shared.gateways import Gateways
    from gateway.features.models.streams import AnswerStreams
    from gateway.later import Later
    from gateway.protocol.appends import AppendOutcome
    from gateway.protocol.streams.state import Record, StreamState

NO_ANSWER = "the answer ended before it began"
_ERRORS = {it.code: it for it in (OriginBroken, OriginTimeout, OriginUnreachable)}


class FollowedAnswer(LiveAnswer):
    """The last answer in a record, whose events are followed until the record has its end."""

    def __init__(self, name: str, found: StreamRecord, streams: AnswerStreams) -> None:
        last = found.answers[-1]
        super().__init__(name, last.request, streams)
        self._found = found
        self._head = last.response
        self._stream_id: int | None = None  # of the events, once they are followed
        self._end_watch: Callable[[], None] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._is_behind = False  # events came while it caught up
        self._is_parted = False  # what follows belongs to the next answer
        self._is_over = False
        self._stop: Later[AppendOutcome] | None = None  # the request to end the answer

    def start(self) -> asyncio.Task[None]:
        """Start to follow the answer."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def interrupt(self) -> None:
        """Cut the readers off, since this gateway stops; their clients repeat their requests."""
        if self._task is not None and not self._is_over:
            self._cut = ServerStopping("the server is stopping: send the request again")
            self._task.cancel()

    async def wait_for_begin(self) -> None:
        """Return once the position has what the log had when this began."""
        await asyncio.wait([self.response])

    @property
    @override
    def is_over(self) -> bool:
        return self._is_over

    @override
    def stop(self, failure: EarlyEnd) -> None:
        """Ask the gateway that writes the answer to end it."""
        stop = record.encoded(StopEntry(self.request.position, *failure))
        name, stream_id = record.record_name(self.name), self._found.stream_id
        self._stop = self.streams.append(name, record.CONTENT_TYPE, [stop], stream_id=stream_id)

    @override
    async def wait_for_end(self, longest_s: float | None = None) -> None:
        """Return once the answer is over, or after `longest_s`.

        Raises HeadgateError if the gateway that writes it cannot be asked to stop.
        """
        if self._stop is not None:
            with contextlib.suppress(StreamClosed, StreamNotFound):  # it is over
                await self._stop
        await super().wait_for_end(longest_s)

    # The record

    async def _run(self) -> None:
        refusal: HeadgateError = OriginBroken(NO_ANSWER)
        try:
            await self._follow()
        except asyncio.CancelledError:  # the stream was deleted, or the gateway stops
            refusal = self._cut or StreamGone(DELETED.sentence)
            if self._cut is None and self._head is not None and not self._is_parted:
                self._note_deleted()
        except HeadgateError as error:
            refusal = error
        finally:
            if self._end_watch is not None:
                self._end_watch()
            if self._catching_up is not None:
                self._catching_up.cancel()
            self._is_over = self._cut is None
            self._refuse(refusal)
            self.wake_readers()

    async def _follow(self) -> None:
        if self._head is not None:
            await self._begin(self._head)
        name, found = record.record_name(self.name), self._found
        async with aclosing(
            entries_from(self.streams, name, found.position, found.stream_id)
        ) as entries:
            async for entry in entries:
                match entry:
                    case ResponseEntry():
                        await self._begin(entry)
                    case EndEntry():
                        self._end(entry)
                        return
                    case _:
                        pass

    def _end(self, entry: EndEntry) -> None:
        self._outcome = entry.outcome
        if self._head is not None:
            self._note((), entry.position)
            self._set_response(self._head)
        elif isinstance(entry.refusal, record.UnstoredResponse):
            self._pass_on(entry.refusal)

    def _pass_on(self, refusal: UnstoredResponse) -> None:
        """Give those who wait the response of the provider that is not stored."""
        if refusal.head is not None:
            self._set_response(WholeResponse(refusal.head, refusal.body))
        else:
            self._refuse(_ERRORS.get(refusal.code or "", OriginBroken)(refusal.detail))

    async def _begin(self, head: ResponseEntry) -> None:
        """Follow the events, now that there are some; those that do not stream are all stored."""
        self._head = head
        if self.request.is_whole:
            return  # until the record has the position of its end
        self._end_watch = self.streams.watch(self.name, self._on_events)
        self._catch_up()
        assert self._catching_up is not None, "it has just begun"
        await asyncio.wait([self._catching_up])
        self._set_response(head)

    # The events

    def _on_events(self, state: StreamState | None, records: Sequence[Record]) -> None:
        """Note events that follow what is noted, or catch up with the log."""
        if state is None or self._stream_id not in {None, state.stream_id}:
            self._abandon()
        elif self._catching_up is not None:
            self._is_behind = True
        elif state.tail > self.position and not self._is_parted:
            begin = records[0].end - len(records[0].data) if records else None
            if begin == self.position:
                self._take(b"".join(one.data for one in records), state.tail)
            else:
                self._catch_up()

    def _abandon(self) -> None:
        """End the answer, since its stream was deleted."""
        assert self._task is not None, "it follows the stream"
        self._is_over = True
        self._task.cancel()

    def _take(self, data: bytes, end: int) -> None:
        """Note data that end at a position, without what belongs to the next answer."""
        length = len(data)
        if self.request.is_in_named_stream:
            length = record.parting_in(data)
            self._is_parted = length < len(data)
        if length:
            self._note([*events_of(data[:length])], end - len(data) + length)

    def _catch_up(self) -> None:
        self._is_behind = False
        self._catching_up = asyncio.get_running_loop().create_task(self._read())
        self._catching_up.add_done_callback(self._on_caught_up)

    def _on_caught_up(self, done: asyncio.Task[None]) -> None:
        self._catching_up = None
        error = None if done.cancelled() else done.exception()
        if isinstance(error, StreamNotFound | StreamGone):
            self._abandon()
        elif error is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(RELOAD_S, look_again, self.streams, self.name)
        elif self._is_behind and not done.cancelled():
            self._catch_up()

    async def _read(self) -> None:
        """Note what the log has behind the noted events."""
        end = await self.streams.end(self.name)
        if end is None:
            raise StreamNotFound("the stream of the answer was deleted")
        self._stream_id = end.stream_id
        if not self.request.is_in_named_stream:
            if end.tail > self.position:
                self._note((), end.tail)  # its readers read the log
            return
        async for data, position in self.streams.chunks(self.name, self.position, end):
            self._take(data, position)
            if self._is_parted:
                return


class FollowedAnswers:
    """The answers in one folder that other gateways write, and that have been asked for here."""

    def __init__(self, gateways: Gateways, running: RunningAnswers) -> None:
        self._gateways = gateways
        self._running = running
        self.answers: set[FollowedAnswer] = set()

    async def find(self, name: str) -> FollowedAnswer | None:
        """Return the answer with a name if another gateway writes it. Raises HeadgateError."""
        streams = self._gateways.streams
        if not streams.is_shared:
            return None
        found = await record.read_record(streams, name)
        if not found.answers or found.answers[-1].end is not None:
            return None
        if not self._gateways.writes(found.answers[-1].request):
            return None
        answer = FollowedAnswer(name, found, streams)
        self._running.answers[streams.path(name)] = answer
        self.answers.add(answer)
        self._gateways.followed[name] = answer.request.writer or ""
        answer.start().add_done_callback(partial(self._ended, answer))
        if found.answers[-1].response is not None:
            await answer.wait_for_begin()
        return answer

    def _ended(self, answer: FollowedAnswer, _task: asyncio.Task[None]) -> None:
        self._running.drop(answer.streams.path(answer.name), answer)
        self._gateways.followed.pop(answer.name, None)
        self.answers.discard(answer)

    async def drain(self) -> None:
        """Wait for the answers that have readers here."""
        if waits := [it.wait_for_end() for it in self.answers if it.has_readers]:
            await asyncio.gather(*waits)

    def close(self) -> None:
        """Cut off the readers that are left."""
        for answer in list(self.answers):
            answer.interrupt()
