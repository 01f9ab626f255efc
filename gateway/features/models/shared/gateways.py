"""The gateways that write answers in one folder of a log, and the end of what stopped ones left.

Each gateway of a shared log stores how often it has beaten, every BEAT_S, and reads the others'
counts at the same time (`features.beats`). The others end the answers that a stopped gateway has
noted. A gateway that has only stood still is refused by the log once its answers are ended
(`shared.claims`). In the log of one process, that process writes all answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.background import Background
from gateway.errors import HeadgateError, LogUnavailable, RecordDamaged
from gateway.features.beats import BEAT_S, OtherGateways, OwnHeartbeats, heartbeats_of
from gateway.features.models import record
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from gateway.features.models.record import EndEntry, RequestEntry
    from gateway.features.models.shared.claims import Claim
    from gateway.features.models.streams import AnswerStreams

# Looks at an answer that may lack its end, for half a minute: Redis carries out no call later.
LOOKS_AT_LEFT = 60
# Those who wait at other gateways read within this time why there is no answer.
DELETE_AFTER_S = 5.0
CLOSE_S = 2.0  # for what is under way when the route is closed; other gateways do the rest


class Gateways(Background):
    """This gateway as one that writes answers, and the others of the same folder."""

    def __init__(
        self,
        streams: AnswerStreams,
        finish_abandoned: Callable[[str], Awaitable[object]],
        finish: Callable[[str], Awaitable[object]],
    ) -> None:
        """End answers of stopped gateways by `finish_abandoned`, those lost here by `finish`."""
        self.streams = streams
        self._heartbeats = heartbeats_of(streams.route.table.log)
        self.name = "" if self._heartbeats is None else secrets.token_hex(8)
        self.stopped_gateways = 0
        self.lost_answers = 0  # which other gateways have ended
        self.followed: dict[str, str] = {}  # writers of the answers that have readers here
        self._finish_abandoned = finish_abandoned
        self._finish = finish
        self._beats = OwnHeartbeats()
        self._others = OtherGateways()
        self._looked = asyncio.Condition()
        self._left: dict[str, int] = {}  # looks at own answers that may lack their end
        self._tasks: set[asyncio.Task[None]] = set()
        self._deletions: dict[asyncio.TimerHandle, Claim] = {}
        self._ending: set[str] = set()  # stopped gateways whose answers are being ended
        self._reported: set[str] = set()  # those of them that are in the log

    @override
    def start(self) -> None:
        if self._heartbeats is not None:
            super().start()

    async def close(self) -> None:
        """Say that this gateway writes no answers any more, unless some are left without an end."""
        await self.stop()
        for timer, claim in list(self._deletions.items()):
            timer.cancel()
            self._spawn(self._delete(timer, claim))
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=CLOSE_S)
            for task in late:
                task.cancel()
        if self._heartbeats is not None and not self._left:
            with contextlib.suppress(HeadgateError):
                await self._heartbeats.forget(self.streams.folder, self.name)

    # Who writes an answer

    def writes(self, request: RequestEntry) -> bool:
        """Return whether another gateway writes the answer to a request, as far as is known."""
        writer = request.writer or ""
        is_other = writer not in {"", self.name}
        return is_other and self._others.may_run(writer)

    async def has_stopped(self, request: RequestEntry) -> bool:
        """Return whether no gateway writes an answer any more, once that is certain.

        This gateway writes none that is not running here: then the answer is left.
        """
        while self.writes(request):
            if self._others.has_just_beaten(request.writer or ""):
                return False
            async with self._looked:
                await self._looked.wait()
        return True

    async def ensure_known(self) -> None:
        """Let the others see this gateway before it begins an answer. Raises LogUnavailable.

        After it has stood still, they may take it for stopped until their next look.
        """
        time = asyncio.get_running_loop().time
        if self._beats.is_overdue(time()):
            await self._look()
        await asyncio.sleep(self._beats.hidden_s(time()))

    # Its own answers

    async def note(self, name: str) -> None:
        """Note that this gateway writes an answer. Raises LogUnavailable."""
        if self._heartbeats is not None:
            await self._heartbeats.note(self.name, name)

    def drop(self, name: str) -> None:
        """Drop the note of an answer that has its end."""
        if self._heartbeats is not None and name not in self._left:
            self._spawn(self._heartbeats.drop(self.name, name))

    def end_later(self, name: str) -> None:
        """Write the end of an answer once the log can be written again."""
        if self._heartbeats is not None:
            self._left[name] = LOOKS_AT_LEFT

    async def end_of(self, name: str) -> EndEntry | None:
        """Return the end of the last answer of a name, written here if nobody has; else None."""
        await self._finish(name)
        found = await record.read_record(self.streams, name)
        return found.answers[-1].end if found.answers else None

    def delete_soon(self, claim: Claim) -> None:
        """Delete the record of an answer once those who follow it have read it."""

        def delete() -> None:
            self._spawn(self._delete(timer, claim))

        timer = asyncio.get_running_loop().call_later(DELETE_AFTER_S, delete)
        self._deletions[timer] = claim

    async def _delete(self, timer: asyncio.TimerHandle, claim: Claim) -> None:
        del self._deletions[timer]
        await claim.delete_beside()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        """Start work that may fail: what it would have tidied does no harm, and expires."""
        task = asyncio.get_running_loop().create_task(self._suppressed(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    @staticmethod
    async def _suppressed(work: Coroutine[None, None, None]) -> None:
        try:
            await work
        except HeadgateError:
            pass
        except Exception:  # noqa: BLE001 - nobody waits for it
            log.exception("answers.not_tidied")

    # Looks

    @override
    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except LogUnavailable:
                self._others.excuse()  # they could not beat either
            except Exception:  # noqa: BLE001 - the others' readers wait for this
                log.exception("answers.gateways_not_seen", route=self.streams.route.prefix)
            await asyncio.sleep(BEAT_S)

    async def _look(self) -> None:
        """Beat, see which others have not, and end the answers of those that have stopped."""
        assert self._heartbeats is not None, "the log is shared"
        self._beats.number += 1
        began = asyncio.get_running_loop().time()
        found = await self._heartbeats.beat(self.streams.folder, self.name, self._beats.number)
        self._beats.note(asyncio.get_running_loop().time())
        beside = {name: beats for name, beats in found.items() if name != self.name}
        for other in self._others.see(beside, began):
            if other not in self._ending:
                self._ending.add(other)
                self._spawn(self._end_answers_of(other))
        for name in list(self._left):
            self._spawn(self._end_left(name))
        async with self._looked:
            self._looked.notify_all()

    async def _end_answers_of(self, other: str) -> None:
        """End the answers of a gateway that has stopped, and forget it."""
        assert self._heartbeats is not None, "the log is shared"
        self._others.mark_stopped(other)
        try:
            noted = await self._heartbeats.noted(other)
            followed = [name for name, writer in self.followed.items() if writer == other]
            if noted or followed:
                self._note_stop(other)
            for name in {*noted, *followed}:
                with contextlib.suppress(RecordDamaged):  # by somebody else
                    await self._finish_abandoned(name)
            await self._heartbeats.forget(self.streams.folder, other)
            self._others.forget(other)
            self._reported.discard(other)
        finally:
            self._ending.discard(other)

    def _note_stop(self, other: str) -> None:
        if other not in self._reported:
            self._reported.add(other)
            self.stopped_gateways += 1
            log.warning("answers.gateway_stopped", route=self.streams.route.prefix, gateway=other)

    async def _end_left(self, name: str) -> None:
        """End an own answer that is not written any more, again and again for some time.

        A call that the log was sent before may be carried out late.
        """
        await self._finish_abandoned(name)
        if name in self._left:
            self._left[name] -= 1
            if not self._left[name]:
                del self._left[name]
                self.drop(name)
