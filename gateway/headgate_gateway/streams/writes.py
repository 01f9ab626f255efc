"""The writes of one log in their order: appends and creations, by the queue of each path.

A write waits in the queue of its path. When a pass of the loop brings no further write, the queue's
first creation, or the appends before the next creation, are decided on the loaded state. The
decisions of a pass are committed together, each stream by itself. After its commit the table, the
observers and then the writers are notified.
"""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import perf_counter  # the loop's clock has milliseconds, and takes longer
from typing import TYPE_CHECKING, Any

import msgspec

from headgate_gateway.background import LONGEST_TURN_S
from headgate_gateway.errors import HeadgateError, LimitReached, LogUnavailable
from headgate_gateway.later import Later
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol import lifecycle as rules
from headgate_gateway.protocol.appends import AppendBatch, AppendOutcome
from headgate_gateway.protocol.bodies.content import is_long, long_records
from headgate_gateway.protocol.bodies.json_text import SLICE_BYTES
from headgate_gateway.stepped import in_task
from headgate_gateway.streams.active_stream import NO_WRITES, AppendActivity
from headgate_gateway.streams.lifecycle import MAX_RACES
from headgate_gateway.streams.outcomes import (
    NO_ROOM,
    TOO_MANY_WRITERS,
    UNKNOWN,
    AppendMetrics,
    Outcomes,
    SubmittedCreation,
    set_outcome,
)
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from headgate_gateway.protocol.lifecycle import CreationOutcome
    from headgate_gateway.protocol.requests import CreateRequest
    from headgate_gateway.protocol.streams.state import Change, ClockReading
    from headgate_gateway.runtime.limits import ServerLimits
    from headgate_gateway.streams.active_stream import ActiveStream
    from headgate_gateway.streams.lifecycle import Lifecycle
    from headgate_gateway.streams.outcomes import Waiting
    from headgate_gateway.streams.stream_table import StreamTable

    Decisions = Sequence[Any]  # an AppendOutcome, CreationOutcome or HeadgateError for each
    Decided = tuple[ActiveStream, Decisions, Change]

MAX_BATCH = 1024  # appends of one stream in one commit
MOST_PACKED = 32  # commits to a shared log, which packs them here: 500 take 4 ms
LONGEST_GATHER_S = 0.002  # writes never wait longer than this for others to join their commit
LATE_S = 0.1  # that a commit takes: then a write behind it first asks whether the log is down
# Lost races in a row on one stream before its writes are refused with a Retry-After: of ten
# gateways that write to it all the time, one loses so often once in 10^9 commits.
MAX_CONFLICTS = 200


class WriteQueue:
    """The waiting writes of one log; each stream has one commit under way at a time."""

    def __init__(
        self,
        table: StreamTable,
        lifecycle: Lifecycle,
        limits: ServerLimits,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        """Call `on_turn` after each turn of outcomes, for what is counted together."""
        self.table = table
        self.lifecycle = lifecycle
        self._retention = lifecycle.retention
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop  # from the first write on: to look costs a call
        self._dirty: list[ActiveStream] = []
        self._decided: list[Decided] = []  # to be committed in this pass of the loop
        self._submitted = 0
        self.figures = AppendMetrics()
        self.outcomes = Outcomes(on_turn)
        self.refused_for_room = 0
        # Each is called with the appends that were stored, before their writers get their outcomes.
        self.observers: list[Callable[[Change, Decisions], None]] = []

    # A write is queued

    def create(
        self, path: str, request: CreateRequest, source_path: str | None = None
    ) -> Awaitable[CreationOutcome]:
        """Carry out a PUT; `source_path` is the fork's source when the request names one."""
        is_ready = request.records is not None or not is_long(request.content_type, request.body)
        if source_path is not None or not is_ready:
            return self._create_in_turns(path, request, source_path)
        created: Later[CreationOutcome] = Later()
        on_outcome = partial(set_outcome, created)
        self.submit(path, SubmittedCreation(request, request.body, on_outcome, perf_counter()))
        return created

    async def _create_in_turns(
        self, path: str, request: CreateRequest, source_path: str | None
    ) -> CreationOutcome:
        """Create a fork, or parse a long body in turns with other work before."""
        await in_task()
        size, content_type = len(request.body), request.content_type
        self._limits.receive(size)
        try:
            if content_type is None and source_path is not None and size > SLICE_BYTES:
                source = await self.lifecycle.source(source_path, path)
                content_type = source.content_type
            if is_long(content_type, request.body):
                records = await self.table.turns.run(long_records(request.body))
                request = msgspec.structs.replace(request, records=records)
            if source_path is not None:
                return await self.lifecycle.fork(path, request, source_path)
        finally:
            self._limits.receiving_bytes -= size
        return await self.create(path, request)

    def submit(self, path: str, one: Waiting) -> None:
        """Queue an append, or a creation of no fork; it gets its outcome in a later pass."""
        if not self._submitted:
            self._loop = asyncio.get_running_loop()
        outcomes, size = self.outcomes, len(one.body)
        if outcomes.pending_bytes + size > self._limits.max_pending_appends:
            self.refused_for_room += 1
            outcomes.refuse(one, LimitReached(NO_ROOM), self.figures)
            return
        active = self.table.get(path)
        is_late = active.waiting and one.came - active.waiting[0].came > LATE_S
        if is_late and outcomes.refuse(one, self.table.log.refusal_at_once(path), self.figures):
            return
        active.creations += one.is_creation
        if active.waiting:
            active.waiting.append(one)
        else:
            active.waiting = [one]
            if not active.committing:
                try:
                    self._later(active)
                except Exception:  # noqa: BLE001 - no writer may wait for ever
                    self._end_in_failure([active])
        outcomes.pending_bytes += size
        outcomes.pending += 1
        if outcomes.pending == 1:
            outcomes.idle.clear()
        self._submitted += 1

    def _later(self, active: ActiveStream) -> None:
        """Advance as soon as a pass of the loop brings no further write.

        Writers that get their responses together send their next appends together. These then are
        one commit, not one for the first few and one for the others.
        """
        self._dirty.append(active)
        if len(self._dirty) == 1:
            loop = self._loop
            loop.call_soon(self._gather, loop, self._submitted, loop.time() + LONGEST_GATHER_S)

    def _gather(self, loop: asyncio.AbstractEventLoop, seen: int, until: float) -> None:
        if self._submitted == seen or loop.time() >= until:
            dirty, self._dirty = self._dirty, []
            self._advance_all(loop, deque(dirty))
        else:
            loop.call_soon(self._gather, loop, self._submitted, until)

    def _advance_all(self, loop: asyncio.AbstractEventLoop, dirty: deque[ActiveStream]) -> None:
        turn_ends = loop.time() + LONGEST_TURN_S
        while dirty:
            active = dirty.popleft()
            try:
                if active.waiting and not active.committing:
                    self._advance(active)
            except Exception:  # noqa: BLE001 - no writer may wait for ever, and no stream stop
                self._end_in_failure([active])
            if dirty and loop.time() >= turn_ends:
                loop.call_soon(self._advance_all, loop, dirty)
                return

    # Its state is loaded, and it is decided

    def _advance(self, active: ActiveStream) -> None:
        """Decide the first waiting writes and commit them.

        A refusal, a duplicate or a confirmation commits nothing, so on a shared log it may rest on
        a stale state: it is answered only for the first `active.confirmed` writes, which were
        queued before the state was loaded; the others are decided again.
        """
        table = self.table
        if active.state is None and not (active.absent and active.confirmed):
            self._load(active)
            return
        if not table.is_shared:
            active.confirmed = len(active.waiting)
        now = table.clock()
        if active.creations and active.waiting[0].is_creation:
            if active.state is not None and self.lifecycle.is_left_over(active, active.state):
                self._expire(active, now)
                return
            decided, change = self._decide_creation(active, now)
        else:
            decided, change = self._decide_appends(active, now)
        if change is None:
            self._answer_confirmed(active, decided)
            return
        active.committing = True
        self._decided.append((active, decided, change))
        if len(self._decided) == 1:
            self._loop.call_soon(self._commit)

    def _decide_creation(
        self, active: ActiveStream, now: ClockReading
    ) -> tuple[Decisions, Change | None]:
        """Return the outcome of the first waiting write, and the change to commit for it."""
        table, lifecycle = self.table, self.lifecycle
        if active.grace_s:
            now = table.deadlines.now(active, now)
        request, stream_id = active.waiting[0].request, table.log.new_stream_id()
        try:
            outcome, changes = rules.decide_create(
                active.path_state, active.path, request, stream_id, now, lifecycle.lifetimes
            )
        except HeadgateError as refusal:
            return [refusal], None
        if not changes:
            return [outcome], None
        return [outcome], (lifecycle.with_marks(changes) if request.body else changes)[0]

    def _decide_appends(
        self, active: ActiveStream, now: ClockReading
    ) -> tuple[Decisions, Change | None]:
        """Decide the first waiting appends, within a turn, as `_decide_creation` does."""
        waiting = active.waiting
        stop = min(len(waiting), MAX_BATCH)
        if active.creations:
            stop = next((at for at in range(stop) if waiting[at].is_creation), stop)
        try:
            state = self.table.present(active, now)
        except HeadgateError as refusal:
            return [refusal] * stop, None
        batch = AppendBatch(state, active.producers, now, self._retention)
        most_bytes = self.table.log.batch_bytes
        decided = batch.take(waiting, 0, stop, most_bytes)
        if len(decided) < stop:
            turn_ends = self._loop.time() + LONGEST_TURN_S
            while len(decided) < stop and batch.size < most_bytes:
                if self._loop.time() >= turn_ends:
                    break
                decided += batch.take(waiting, len(decided), stop, most_bytes)
        change, sharing = batch.change(), self.table.log.sharing
        if change is None and sharing is not None and sharing.repeats_wait:
            is_repeated = any(isinstance(outcome, AppendOutcome) for outcome in decided)
            change = rules.touched(state)[0] if is_repeated else None
        return decided, change

    def _load(self, active: ActiveStream) -> None:
        active.confirmed = len(active.waiting)
        active.committing = True
        self.table.loader.start(active).add_done_callback(partial(self._go_on, active))

    def _expire(self, active: ActiveStream, now: ClockReading) -> None:
        """Remove the expired stream that is at the path of a creation."""
        active.conflicts += 1
        if active.conflicts > MAX_RACES:  # each attempt may be a commit, and other writes wait
            active.conflicts = 0
            self._answer(active, [LogUnavailable(TOO_MANY_WRITERS)])
            self._later(active)
            return
        removal = self.lifecycle.expire(active.path, self.table.deadlines.now(active, now))
        active.committing = True
        self._loop.create_task(removal).add_done_callback(partial(self._go_on, active))

    def _go_on(self, active: ActiveStream, done: asyncio.Future[Any]) -> None:
        """Decide writes that waited for a load, or for an expired stream's removal."""
        active.committing = False
        try:
            done.result()
            self._advance(active)
        except HeadgateError as refusal:
            self._answer(active, [refusal] * len(active.waiting))
        except Exception:  # noqa: BLE001 - no writer may wait for ever, and no stream stop
            self._end_in_failure([active])

    def _answer_confirmed(self, active: ActiveStream, decided: Decisions) -> None:
        """Deliver the confirmed outcomes; load the stream to decide the others again."""
        confirmed = active.confirmed
        self._answer(active, decided[:confirmed])
        if len(decided) > confirmed:
            self._load(active)
        elif active.waiting:
            self._later(active)

    # It is committed

    def _commit(self) -> None:
        """Commit the decided changes, each stream by itself; on a shared log within turns."""
        turn_ends = self._loop.time() + LONGEST_TURN_S
        most = MOST_PACKED if self.table.is_shared else len(self._decided)
        while self._decided:
            decided, self._decided = self._decided[:most], self._decided[most:]
            try:
                _, _, changes = zip(*decided, strict=True)
                self.table.commits.commit_separately(changes, partial(self._settled, decided))
            except Exception:  # noqa: BLE001 - no writer may wait for ever
                self._end_in_failure([active for active, _, _ in decided])
            if self._decided and self._loop.time() >= turn_ends:
                self._loop.call_soon(self._commit)
                return

    def _settled(
        self, decided: Sequence[Decided], first: int, failures: Sequence[Exception | None]
    ) -> None:
        """Answer the writes whose commits succeeded together, and handle failed commits."""
        now = perf_counter()
        settled: list[Waiting] = []
        outcomes: list[Any] = []
        for (active, decisions, change), failure in zip(decided[first:], failures, strict=False):
            try:
                if failure is not None or change.expected is None:
                    decisions = self._settle_other(active, decisions, change, failure)
                else:
                    if change.appends:
                        active.activity = active.activity or AppendActivity()
                        active.activity.count(change.appends, change.grown or change.added, now)
                    for notify in self.observers:
                        notify(change, decisions)
                    active.conflicts = 0
                active.committing = False
                done = active.waiting
                if len(decisions) < len(done):
                    done = active.pop_waiting(len(decisions))
                    self._later(active)
                else:
                    active.waiting = NO_WRITES
                    active.confirmed = active.creations = 0
                self.outcomes.undelivered.extend(zip(done, decisions, strict=True))
                settled += done
                outcomes += decisions
            except Exception:  # noqa: BLE001 - no writer may wait for ever
                self._end_in_failure([active])
        try:
            self.figures.count(settled, outcomes, now)
        finally:
            self.outcomes.deliver()

    def _settle_other(
        self, active: ActiveStream, decided: Decisions, change: Change, failure: Exception | None
    ) -> Decisions:
        """Settle a creation, or a commit that failed; return the outcomes, none after a lost race.

        Appends decided together with a failed one depend on it, and are refused too.
        """
        if change.expected is None:
            replaces = active.retired is not None  # as when it was decided: it is in use
            self.lifecycle.on_settled((change,), failure, replaces=replaces)
        if isinstance(failure, Conflict):
            active.conflicts += 1
            if active.conflicts <= MAX_CONFLICTS:
                self.table.adopt(active.path, failure.found)
                return ()
            failure = LogUnavailable(TOO_MANY_WRITERS)
        active.conflicts = 0
        if failure is None:
            return decided
        if isinstance(failure, HeadgateError):
            return [failure] * len(decided)
        raise failure

    # Its writer gets the outcome

    def _answer(self, active: ActiveStream, outcomes: Decisions) -> None:
        """Deliver outcomes to the first waiting writes, which do not wait any more."""
        first = active.pop_waiting(len(outcomes))
        self.outcomes.undelivered.extend(zip(first, outcomes, strict=True))
        self.figures.count(first, outcomes, perf_counter())
        self.outcomes.deliver()

    def _end_in_failure(self, streams: Sequence[ActiveStream]) -> None:
        """Log the exception being handled, and refuse the writes that wait on these streams.

        It is unknown whether a change that was under way was stored. Later writes are decided on
        the state that the log then has.
        """
        path = streams[0].path if streams else None
        log.exception("write.failed", path=path, streams=len(streams))
        for active in streams:
            active.committing = True  # until its writes are refused, in another turn
            self._loop.call_soon(self._give_up, active)

    def _give_up(self, active: ActiveStream) -> None:
        active.committing = False
        active.conflicts = 0
        try:
            self.table.reload(active.path)
        finally:
            self._answer(active, [LogUnavailable(UNKNOWN)] * len(active.waiting))
