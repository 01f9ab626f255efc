"""Appends in order: those that wait for one stream are decided as one batch, in one commit."""

from __future__ import annotations

import asyncio
from collections import deque
from functools import partial
from time import perf_counter  # the loop's clock has milliseconds, and takes longer
from typing import TYPE_CHECKING

from gateway.background import LONGEST_TURN_S
from gateway.errors import NO_STREAM, HeadgateError, LimitReached, LogUnavailable, StreamNotFound
from gateway.logs.contract import Conflict
from gateway.protocol.appends import AppendBatch, AppendOutcome
from gateway.protocol.lifecycle import touched
from gateway.protocol.streams.limits import EVERYTHING, Retention
from gateway.streams.active_stream import NOBODY, AppendRate
from gateway.streams.append_outcomes import (
    TOO_MANY_WRITERS,
    UNKNOWN,
    AppendMetrics,
    Outcomes,
)
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gateway.logs.contract import Log
    from gateway.protocol.streams.state import Change, StreamState
    from gateway.runtime.limits import ServerLimits
    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.append_outcomes import Outcome, Waiting
    from gateway.streams.stream_table import StreamTable

    Decisions = Sequence[Outcome]  # on the first waiting appends
    Decided = tuple[ActiveStream, Decisions, Change]

MAX_BATCH = 1024  # appends of one stream in one commit
LONGEST_GATHER_S = 0.002  # appends never wait longer than this for others to join their commit
# Lost races in a row on one stream before its writers are told to come back: of ten gateways that
# meet there all the time, one loses so often once in 10^9 commits.
MAX_CONFLICTS = 200


class Appender:
    """The queue of appends of one log; each stream has one commit under way at a time."""

    def __init__(
        self,
        table: StreamTable,
        limits: ServerLimits,
        retention: Retention = EVERYTHING,
        on_turn: Callable[[], None] | None = None,
    ) -> None:
        """Call `on_turn` after each turn of outcomes, for what is counted together."""
        self._table = table
        self._retention = retention or EVERYTHING
        self._limits = limits
        self._loop: asyncio.AbstractEventLoop  # from the first append on: to look costs a call
        self._dirty: list[ActiveStream] = []
        self._decided: list[Decided] = []  # to be committed in this pass of the loop
        self._submitted = 0
        self.figures = AppendMetrics()
        self.outcomes = Outcomes(on_turn)
        self.refused_for_room = 0
        # Each is called with what was stored, before its writers get their outcomes.
        self.observers: list[Callable[[Change, Decisions], None]] = []

    def submit(self, path: str, one: Waiting) -> None:
        """Queue an append, which gets its outcome in a later pass of the loop."""
        if not self._submitted:
            self._loop = asyncio.get_running_loop()
        outcomes = self.outcomes
        if outcomes.pending_bytes + len(one.body) > self._limits.max_pending_appends:
            self.refused_for_room += 1
            refusal = LimitReached("max_pending_appends is reached: the log is behind, try again")
            self.figures.count([one], [refusal], one.came)
            self._loop.call_soon(outcomes.give, one, refusal)
            return
        active = self._table.get(path)
        if active.waiting:
            active.waiting.append(one)
        else:
            active.waiting = [one]
            if not active.committing:
                try:
                    self._later(active)
                except Exception:  # noqa: BLE001 - nobody may wait for ever
                    self._end_in_failure([active])
        outcomes.pending_bytes += len(one.body)
        outcomes.pending += 1
        if outcomes.pending == 1:
            outcomes.idle.clear()
        self._submitted += 1

    def _later(self, active: ActiveStream) -> None:
        """Advance as soon as a pass of the loop brings no further append.

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
            except Exception:  # noqa: BLE001 - nobody may wait for ever, nor a stream stand still
                self._end_in_failure([active])
            if dirty and loop.time() >= turn_ends:
                loop.call_soon(self._advance_all, loop, dirty)
                return

    def _advance(self, active: ActiveStream, confirmed: int = 0) -> None:
        """Decide the waiting appends and commit them.

        A refusal or a duplicate commits nothing, so on a shared log it may rest on a stale state:
        it is answered only for the first `confirmed` appends, which were queued before the state
        was loaded; the others are decided again.
        """
        if not self._table.is_shared:
            confirmed = len(active.waiting)
        if active.state is None:
            self._load(active)
            return
        now = self._table.clock()
        try:
            state = self._table.present(active, now)
        except HeadgateError as refusal:
            self._refuse_waiting(active, refusal, confirmed)
            return
        batch = AppendBatch(state, active.producers, now, self._retention)
        decided = self._decided_by(batch, active)
        change = batch.change() or _repeated(self._table.log, state, decided)
        if change is None:
            self._answer(active, decided[:confirmed])
            if len(decided) <= confirmed:
                self._advance_later(active, confirmed - len(decided))
            else:
                self._load(active)
            return
        active.committing = True
        self._decided.append((active, decided, change))
        if self._table.is_shared:
            self._commit()  # one call for each stream, and part of this turn
        elif len(self._decided) == 1:
            self._loop.call_soon(self._commit)

    def _commit(self) -> None:
        """Commit what was decided, each stream's by itself, and all of it in one go."""
        decided, self._decided = self._decided, []
        try:
            changes = [change for _, _, change in decided]
            self._table.commits.commit_apart(changes, partial(self._settled, decided))
        except Exception:  # noqa: BLE001 - nobody may wait for ever
            self._end_in_failure([active for active, _, _ in decided])

    def _settled(
        self, decided: Sequence[Decided], first: int, failures: Sequence[Exception | None]
    ) -> None:
        """Answer the appends whose commits succeeded together, and handle failed commits."""
        known = decided[first : first + len(failures)]
        try:
            self._settle(known, failures)
        except Exception:  # noqa: BLE001 - nobody may wait for ever
            self._end_in_failure([active for active, _, _ in known])

    def _settle(self, known: Sequence[Decided], failures: Sequence[Exception | None]) -> None:
        now = perf_counter()
        settled: list[Waiting] = []
        outcomes: list[Outcome] = []
        for (active, decisions, change), failure in zip(known, failures, strict=True):
            if failure is not None:
                self._guarded(active, self._failed, decisions, failure)
                continue
            try:
                if active.rate is None:
                    active.rate = AppendRate()
                active.rate.count(change.appends, now)
                for notify in self.observers:
                    notify(change, decisions)
                active.committing = False
                active.conflicts = 0
                first = active.waiting
                if len(decisions) < len(first):
                    first = active.pop_waiting(len(decisions))
                else:
                    active.waiting = NOBODY
                self.outcomes.undelivered.extend(zip(first, decisions, strict=True))
                settled += first
                outcomes += decisions
                if active.waiting:
                    self._later(active)
            except Exception:  # noqa: BLE001 - nobody may wait for ever
                self._end_in_failure([active])
        self.figures.count(settled, outcomes, now)
        self.outcomes.deliver()

    def _advance_later(self, active: ActiveStream, confirmed: int) -> None:
        """Advance the waiting appends in another turn; no other call advances them before."""
        if active.waiting:
            active.committing = True
            self._loop.call_soon(self._guarded, active, self._go_on, confirmed)

    def _go_on(self, active: ActiveStream, confirmed: int) -> None:
        active.committing = False
        self._advance(active, confirmed)

    def _decided_by(self, batch: AppendBatch, active: ActiveStream) -> Decisions:
        """Have the first waiting appends decided, within a turn; return their outcomes."""
        most_bytes, waiting = self._table.log.batch_bytes, active.waiting
        stop = min(len(waiting), MAX_BATCH)
        decided = batch.take(waiting, 0, stop, most_bytes)
        if len(decided) < stop:
            turn_ends = self._loop.time() + LONGEST_TURN_S
            while len(decided) < stop and batch.size < most_bytes:
                if self._loop.time() >= turn_ends:
                    break
                decided += batch.take(waiting, len(decided), stop, most_bytes)
        active.trace_id = batch.trace_id
        return decided

    def _load(self, active: ActiveStream) -> None:
        active.committing = True
        loading = self._table.loader.start(active)
        loaded = partial(self._guarded, active, self._loaded, len(active.waiting))
        loading.add_done_callback(loaded)

    def _loaded(
        self, active: ActiveStream, confirmed: int, loading: asyncio.Future[object]
    ) -> None:
        active.committing = False
        error = loading.exception()
        if isinstance(error, HeadgateError):
            self._refuse_waiting(active, error, len(active.waiting))
        elif error is not None:
            raise error
        elif active.absent:
            refusal = StreamNotFound(NO_STREAM)
            self._refuse_waiting(active, refusal, confirmed)
        else:
            self._advance(active, confirmed)

    def _failed(self, active: ActiveStream, decided: Decisions, failure: Exception) -> None:
        active.committing = False
        if isinstance(failure, Conflict) and active.conflicts < MAX_CONFLICTS:
            active.conflicts += 1
            self._table.adopt(active.path, failure.found)  # the waiting appends are decided again
        elif isinstance(failure, Conflict | HeadgateError):
            active.conflicts = 0
            # Whatever was decided together with a failed append rests on it, and is refused too.
            if isinstance(failure, Conflict):
                failure = LogUnavailable(TOO_MANY_WRITERS)
            self._answer(active, [failure] * len(decided))
        else:
            raise failure
        if active.waiting:
            self._later(active)

    def _refuse_waiting(self, active: ActiveStream, refusal: HeadgateError, confirmed: int) -> None:
        """Refuse the first `confirmed` appends, and decide the others on a newly loaded state."""
        others_wait = len(active.waiting) > confirmed
        self._answer(active, [refusal] * min(confirmed, len(active.waiting)))
        if others_wait:
            self._load(active)

    def _answer(self, active: ActiveStream, outcomes: Decisions) -> None:
        """Deliver outcomes to the first waiting appends, which do not wait any more."""
        first = active.pop_waiting(len(outcomes))
        self.outcomes.undelivered.extend(zip(first, outcomes, strict=True))
        self.figures.count(first, outcomes, perf_counter())
        self.outcomes.deliver()

    def _guarded(self, active: ActiveStream, step: Callable[..., None], *arguments: object) -> None:
        """Run a step on a stream's appends; if it raises, refuse them, so that the stream goes on.

        Nobody can say whether a change that was under way was stored: all waiting appends get
        LogUnavailable. Later appends are decided on the state that the log then has.
        """
        try:
            step(active, *arguments)
        except Exception:  # noqa: BLE001 - nobody may wait for ever, nor a stream stand still
            self._end_in_failure([active])

    def _end_in_failure(self, streams: Sequence[ActiveStream]) -> None:
        """Log the exception being handled, and refuse the appends that wait on these streams."""
        path = streams[0].path if streams else None
        log.exception("append.failed", path=path, streams=len(streams))
        for active in streams:
            active.committing = True  # until they are refused, in another turn
            self._loop.call_soon(self._give_up, active)

    def _give_up(self, active: ActiveStream) -> None:
        active.committing = False
        active.conflicts = 0
        try:
            self._table.forget(active.path)
        finally:
            self._answer(active, [LogUnavailable(UNKNOWN)] * len(active.waiting))


def _repeated(log: Log, state: StreamState, decided: Decisions) -> Change | None:
    """Return a change that a shared log needs before a repeated append is answered."""
    if log.sharing is None or not log.sharing.repeats_wait:
        return None
    is_repeated = any(isinstance(outcome, AppendOutcome) for outcome in decided)
    return touched(state)[0] if is_repeated else None
