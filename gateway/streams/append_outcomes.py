"""Outcomes of appends: counted, and delivered to the callers that wait for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.backends.commit_histograms import BOUNDS_S
from gateway.errors import HeadgateError, LimitReached, LogFull, LogUnavailable, RecordDamaged
from gateway.later import together
from gateway.protocol.appends import AppendOutcome
from gateway.protocol.requests import Append
from gateway.telemetry.logs import log
from gateway.telemetry.metrics import Histogram
from gateway.turns import LONGEST_TURN_S

if TYPE_CHECKING:
    from collections.abc import Sequence

# An append, the callback for its outcome, and the time when it came (perf_counter).
Waiting = tuple[Append, Callable[[AppendOutcome | HeadgateError], None], float]
# Failures of the server, not of a client.
OURS = (LogFull, LogUnavailable, LimitReached, RecordDamaged)


class AppendMetrics:
    """Appends of data by result, and how long they took; a close without data is none.

    `refused` are mistakes of clients, `failed` what the log could not take.
    """

    __slots__ = ("bytes", "duplicate", "duration", "failed", "messages", "refused", "stored")

    def __init__(self) -> None:
        self.stored = 0
        self.duplicate = 0
        self.refused = 0
        self.failed = 0
        self.bytes = 0  # of bodies that were stored
        self.messages = 0
        self.duration = Histogram(BOUNDS_S)

    def count(
        self,
        waiting: Sequence[Waiting],
        outcomes: Sequence[AppendOutcome | HeadgateError],
        now: float,
    ) -> None:
        """Count appends that waited and whose outcome is known `now`."""
        if waiting and not self._count_alike(waiting, outcomes, now):
            for (append, _, came), outcome in zip(waiting, outcomes, strict=True):
                if append.body:
                    self._count_one(append, outcome, now - came)

    def _count_alike(
        self,
        waiting: Sequence[Waiting],
        outcomes: Sequence[AppendOutcome | HeadgateError],
        now: float,
    ) -> bool:
        """Count all appends at once if all are stored and none is traced.

        Otherwise count nothing and return False.
        """
        messages = size = 0
        times: list[float] = []
        for (append, _, came), outcome in zip(waiting, outcomes, strict=True):
            if not isinstance(outcome, AppendOutcome) or not outcome.stored or append.trace_id:
                return False
            messages += outcome.stored
            size += len(append.body)
            times.append(came)
        self.stored += len(times)
        self.messages += messages
        self.bytes += size
        self.duration.observe_since(sorted(times), now)
        return True

    def _count_one(
        self, append: Append, outcome: AppendOutcome | HeadgateError, seconds: float
    ) -> None:
        if isinstance(outcome, AppendOutcome) and outcome.stored:
            self.stored += 1
            self.messages += outcome.stored
            self.bytes += len(append.body)
        else:
            self._not_stored(outcome)
        self.duration.observe(seconds, trace_id=append.trace_id)

    def _not_stored(self, outcome: AppendOutcome | HeadgateError) -> None:
        if isinstance(outcome, AppendOutcome):
            self.duplicate += 1
        elif isinstance(outcome, OURS):
            self.failed += 1
        else:
            self.refused += 1


class AppendOutcomes:
    """The appends of one log that are under way, and the delivery of their outcomes."""

    def __init__(self) -> None:
        self.figures = AppendMetrics()
        self.pending = 0
        self.pending_bytes = 0
        self.idle = asyncio.Event()  # set while no append is under way
        self.idle.set()
        # Appends that wait no longer, with their outcomes: filled before `deliver` is called, so
        # that whatever raises there, the next delivery has them.
        self.undelivered: deque[tuple[Waiting, AppendOutcome | HeadgateError]] = deque()
        self._is_delivering = False

    def deliver(
        self,
        waiting: Sequence[Waiting],
        outcomes: Sequence[AppendOutcome | HeadgateError],
        now: float,
    ) -> None:
        """Count outcomes that are known since `now`, and deliver what is undelivered, in turns.

        A client that gets its outcome sends its next request: a thousand requests take 50 ms.
        """
        self.figures.count(waiting, outcomes, now)
        if not self._is_delivering:
            self._deliver_on()

    def _deliver_on(self) -> None:
        loop = asyncio.get_running_loop()
        turn_ends = loop.time() + LONGEST_TURN_S
        self._is_delivering = True
        try:
            with together:
                while self.undelivered:
                    (append, done, _), outcome = self.undelivered.popleft()
                    self.pending_bytes -= len(append.body)
                    self.pending -= 1
                    try:
                        done(outcome)
                    except Exception:  # noqa: BLE001 - the others of the group must be answered
                        log.exception("append.unanswered")
                    if self.undelivered and loop.time() >= turn_ends:
                        loop.call_soon(self._deliver_on)
                        return
        finally:
            self._is_delivering = False
            if not self.pending:
                self.idle.set()
