"""An answer that another gateway writes, followed through the log."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.events import events_of
from headgate_gateway.errors import (
    HeadgateError,
    LogUnavailable,
    OriginBroken,
    ServerStopping,
    StreamGone,
    StreamNotFound,
)
from headgate_gateway.features.models import record
from headgate_gateway.features.models.live_answer import DELETED, LiveAnswer
from headgate_gateway.features.models.record import EndEntry, ResponseEntry
from headgate_gateway.streams.follower import RELOAD_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.dialects.progress import EarlyEnd
    from headgate_gateway.features.models.record import StreamRecord
    from headgate_gateway.features.models.running import RunningAnswers
    from headgate_gateway.features.models.shared.gateways import Gateways
    from headgate_gateway.features.models.streams import AnswerStreams

    Finish = Callable[[str, EarlyEnd], Awaitable[object]]

NO_ANSWER = "the answer ended before it began: send the request again"


class FollowedAnswer(LiveAnswer):
    """The last answer in a record, whose events are followed until the record has its end."""

    def __init__(
        self, name: str, found: StreamRecord, streams: AnswerStreams, finish: Finish
    ) -> None:
        """Call `finish` to end the answer in place of the gateway that writes it."""
        last = found.answers[-1]
        super().__init__(name, last.request, streams)
        self._record_id, self._record_position = found.stream_id, found.position
        self._head = last.response
        self._end: EndEntry | None = None
        self._stream_id: int | None = None  # of the events, once they are followed
        self._is_parted = False  # what follows belongs to the next answer
        self._is_over = False
        self._finish = finish
        self._stop: asyncio.Task[object] | None = None
        self._changed = asyncio.Event()

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

    @property
    @override
    def is_whole(self) -> bool:
        return self._is_over or self._is_parted

    @override
    def stop(self, failure: EarlyEnd) -> None:
        """End the answer in the log: its writer's next append is refused."""
        work = self._finish(self.name, failure)
        self._stop = asyncio.ensure_future(work)

    @override
    async def wait_for_end(self, longest_s: float | None = None) -> None:
        """Return once the answer is over, or after `longest_s`.

        Raises HeadgateError if it cannot be ended here.
        """
        if self._stop is not None:
            await self._stop
        await super().wait_for_end(longest_s)

    async def _run(self) -> None:
        refusal: HeadgateError = OriginBroken(NO_ANSWER)
        streams = self.streams
        names = record.record_name(self.name), self.name
        end_watches = [streams.watch(it, lambda *_: self._changed.set()) for it in names]
        try:
            await self._follow()
        except asyncio.CancelledError:  # this gateway stops
            refusal = self._cut or refusal
        except HeadgateError as error:
            refusal = error
            if self._head is not None:
                self._note_deleted()
        finally:
            for end_watch in end_watches:
                end_watch()
            self._is_over = self._cut is None
            self._refuse(refusal)
            self.wake_readers()

    async def _follow(self) -> None:
        """Note what comes until the answer is over. Raises StreamGone if it is deleted.

        While the log cannot be read, nothing comes.
        """
        while True:
            self._changed.clear()
            try:
                is_recorded = await self._read_record()
                if self._head is not None:
                    await self._read_events()
                    self._set_response(self._head)
            except (StreamNotFound, StreamGone):
                raise StreamGone(DELETED.sentence) from None
            except LogUnavailable:
                asyncio.get_running_loop().call_later(RELOAD_S, self._look_again)
            else:
                if self._end is not None:
                    self._outcome = self._end.outcome
                    self._note((), self._end.position)
                if self._end is not None or not is_recorded:
                    return
            await self._changed.wait()

    def _look_again(self) -> None:
        for name in (record.record_name(self.name), self.name):
            self.streams.route.table.reload(self.streams.full_name(name))
        self._changed.set()

    async def _read_record(self) -> bool:
        """Take the new entries of the record; return False if it is gone."""
        streams, name = self.streams, record.record_name(self.name)
        end = await streams.end(name)
        if end is None or end.stream_id != self._record_id:
            return False
        async for data, position in streams.chunks(name, self._record_position, end):
            self._record_position = position
            for entry in record.decoded(data):
                if isinstance(entry, EndEntry):
                    self._end = entry
                    return True
                if isinstance(entry, ResponseEntry):
                    self._head = entry
        return True

    async def _read_events(self) -> None:
        """Note the new events of the answer, without what belongs to the next one."""
        end = await self.streams.end(self.name)
        if end is None or self._stream_id not in {None, end.stream_id}:
            raise StreamNotFound(DELETED.sentence)
        self._stream_id = end.stream_id
        if not self.request.is_in_named_stream and end.tail > self.position:
            self._note((), end.tail)  # its readers read the log
            return
        async for data, position in self.streams.chunks(self.name, self.position, end):
            if self._is_parted:
                return
            length = record.parting_in(data)
            self._is_parted = length < len(data)
            if length:
                self._note([*events_of(data[:length])], position - len(data) + length)
            else:
                self._note_whole()

    def _note_whole(self) -> None:
        """Wake the requests that wait in `reach`, and no readers: these would get a comment."""
        for waiting, reader in list(self._waiting.items()):
            if reader is None:
                self._wake(waiting)


class FollowedAnswers:
    """The answers in one folder that other gateways write, and that have been asked for here."""

    def __init__(self, gateways: Gateways, running: RunningAnswers, finish: Finish) -> None:
        """Call `finish` to end an answer in place of the gateway that writes it."""
        self._gateways = gateways
        self._running = running
        self._finish = finish
        self.answers: set[FollowedAnswer] = set()

    async def find(self, name: str) -> FollowedAnswer | None:
        """Return the answer with a name if another gateway writes it. Raises HeadgateError."""
        streams = self._gateways.streams
        if not streams.is_shared:
            return None
        found = await record.read_record(streams, name)
        if not found.is_unfinished or not await self._gateways.writes(found.answers[-1].request):
            return None
        answer = FollowedAnswer(name, found, streams, self._finish)
        self._running.answers[streams.path(name)] = answer
        self.answers.add(answer)
        self._gateways.followed[name] = answer.request
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
