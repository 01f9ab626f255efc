"""Several gateways before one log: which of them run, and the completions that others write.

Each gateway of a shared log beats every BEAT_S (`features.redis.writers`). The completions of one
that has stopped are ended by those that follow them, by the next request for them, and by the next
gateway that starts. A gateway that has only stood still is refused by the log once its completions
are ended (`claims`). In the log of one process, that process writes all completions.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate.events import events_of
from headgate_gateway.background import Background
from headgate_gateway.errors import (
    HeadgateError,
    LogUnavailable,
    OriginBroken,
    ServerStopping,
    StreamGone,
    StreamNotFound,
)
from headgate_gateway.features.models import record
from headgate_gateway.features.models.completion import Completion
from headgate_gateway.features.models.ends import DELETED
from headgate_gateway.features.models.record import EndEntry
from headgate_gateway.features.models.store import read_record
from headgate_gateway.features.redis.store import store_of
from headgate_gateway.features.redis.writers import RedisWriters
from headgate_gateway.streams.follower import RELOAD_S
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.dialects.progress import EarlyEnd
    from headgate_gateway.features.models.completion import RunningCompletions
    from headgate_gateway.features.models.record import RequestEntry
    from headgate_gateway.features.models.store import StreamRecord
    from headgate_gateway.features.models.streams import CompletionStreams

    Finish = Callable[[str, EarlyEnd], Awaitable[object]]

BEAT_S = 1.0
LATE_S = 3 * BEAT_S  # since the last beat: this gateway beats before it begins a completion
NO_ANSWER = "the answer ended before it began: send the request again"


class FollowedCompletion(Completion):
    """The last completion in a record, whose events are followed until the record has its end."""

    def __init__(self, found: StreamRecord, finish: Finish) -> None:
        """Call `finish` to end it in place of the gateway that writes it."""
        last = found.completions[-1]
        super().__init__(last.name, last.request, last.streams, is_live=True)
        self.head = last.head
        self._record_id, self._record_position = found.stream_id, found.position
        self._recorded_end: EndEntry | None = None  # before all events are noted
        self._stream_id: int | None = None  # of the events, once they are followed
        self._is_parted = False  # what follows belongs to the next completion
        self._finish = finish
        self._stop: asyncio.Task[object] | None = None
        self._changed = asyncio.Event()

    def start(self) -> asyncio.Task[None]:
        """Start to follow the completion."""
        self._task = asyncio.get_running_loop().create_task(self._run())
        return self._task

    def interrupt(self) -> None:
        """Cut the readers off, since this gateway stops; their clients repeat their requests."""
        if self._task is not None and not self.is_over:
            self._cut = ServerStopping("the server is stopping: send the request again")
            self._task.cancel()

    @property
    @override
    def is_whole(self) -> bool:
        return self.is_over or self._is_parted

    @override
    def stop(self, failure: EarlyEnd) -> None:
        """End the completion in the log: its writer's next append is refused."""
        self._stop = asyncio.ensure_future(self._finish(self.name, failure))

    @override
    async def wait_for_end(self, longest_s: float | None = None) -> None:
        """Return once it is over, or after `longest_s`; raise HeadgateError if it cannot be ended.

        Raises what `stop` has met.
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
            if self.head is not None:
                self._note_deleted()
        finally:
            for end_watch in end_watches:
                end_watch()
            self._is_gone = self._cut is None
            self._refuse(refusal)
            self.wake_readers()

    async def _follow(self) -> None:
        """Note what comes until the completion is over. Raises StreamGone if it is deleted.

        While the log cannot be read, nothing comes.
        """
        while True:
            self._changed.clear()
            try:
                is_recorded = await self._read_record()
                if self.head is not None:
                    await self._read_events()
                    self._set_response(self.head)
            except (StreamNotFound, StreamGone):
                raise StreamGone(DELETED.sentence) from None
            except LogUnavailable:
                asyncio.get_running_loop().call_later(RELOAD_S, self._look_again)
            else:
                if self._recorded_end is not None:
                    self.end = self._recorded_end
                    self._note((), self.end.position)
                if self.end is not None or not is_recorded:
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
                    self._recorded_end = entry
                    return True
                self.add(entry)
        return True

    async def _read_events(self) -> None:
        """Note the new events of the completion, without what belongs to the next one."""
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
                self._readers.wake_requests()


class Gateways(Background):
    """This gateway as one that writes completions, and the others of the same log."""

    def __init__(
        self,
        streams: CompletionStreams,
        finish_abandoned: Callable[[str], Awaitable[object]],
    ) -> None:
        """End completions of stopped gateways by `finish_abandoned`."""
        self._streams = streams
        store = store_of(streams.route.table.log)
        self._writers = None if store is None else RedisWriters(store)
        self.name = "" if store is None else secrets.token_hex(8)
        self._followed: set[FollowedCompletion] = set()  # that were requested here
        self._finish_abandoned = finish_abandoned
        self._beaten_at: float | None = None  # loop time
        # Loop time until which nobody counts as stopped: the log took no beats, of nobody.
        self._excused_until = 0.0

    @override
    def start(self) -> None:
        if self._writers is not None:
            super().start()

    async def find(
        self, name: str, running: RunningCompletions, finish: Finish
    ) -> FollowedCompletion | None:
        """Return the completion with a name if another gateway writes it. Raises HeadgateError.

        It is among the `running` ones from then on.
        """
        if self._writers is None:
            return None
        found = await read_record(self._streams, name)
        if not found.is_unfinished or not await self.writes(found.completions[-1].request):
            return None
        completion = FollowedCompletion(found, finish)
        running.at[self._streams.path(name)] = completion
        self._followed.add(completion)
        completion.start().add_done_callback(partial(self._ended, completion, running))
        if completion.head is not None:  # the position has what the log had when this began
            with contextlib.suppress(HeadgateError):
                await completion.wait_for_head()
        return completion

    def _ended(
        self, completion: FollowedCompletion, running: RunningCompletions, _: object
    ) -> None:
        running.drop(self._streams.path(completion.name), completion)
        self._followed.discard(completion)

    async def drain(self) -> None:
        """Wait for the followed completions that have readers here."""
        if waits := [it.wait_for_end() for it in self._followed if it.has_readers]:
            await asyncio.gather(*waits)

    def interrupt(self) -> None:
        """Cut off the readers of followed completions that are left."""
        for completion in list(self._followed):
            completion.interrupt()

    async def close(self) -> None:
        """Note that this gateway writes no completions any more."""
        await self.stop()
        if self._writers is not None:
            with contextlib.suppress(HeadgateError):
                await self._writers.forget(self.name)

    async def writes(self, request: RequestEntry) -> bool:
        """Return whether another gateway writes the completion of a request, as far as is known.

        Raises LogUnavailable.
        """
        writer = request.writer or ""
        if self._writers is None or writer in {"", self.name}:
            return False
        is_excused = asyncio.get_running_loop().time() < self._excused_until
        return is_excused or await self._writers.is_alive(writer)

    async def ensure_alive(self) -> None:
        """Let the others see this gateway before it begins a completion. Raises LogUnavailable."""
        now = asyncio.get_running_loop().time()
        if self._beaten_at is None or now - self._beaten_at > LATE_S:
            await self._beat()

    async def _beat(self) -> None:
        assert self._writers is not None, "the log is shared"
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            await self._writers.beat(self.name)
        except HeadgateError:
            self._excused_until = loop.time() + LATE_S
            raise
        self._beaten_at = began

    @override
    async def _run(self) -> None:
        while True:
            try:
                await self._beat()
                for completion in list(self._followed):
                    if not await self.writes(completion.request):
                        path = self._streams.path(completion.name)
                        log.warning("answers.gateway_stopped", stream=path)
                        await self._finish_abandoned(completion.name)
            except HeadgateError:
                pass  # the log cannot be read, and the next round looks again
            except Exception:  # noqa: BLE001 - the others' readers wait for this
                log.exception("answers.gateways_not_seen", route=self._streams.route.prefix)
            await asyncio.sleep(BEAT_S)
