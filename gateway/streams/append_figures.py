"""Counts of appends by outcome."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from gateway.backends.commit_figures import BOUNDS_S
from gateway.errors import HeadgateError, LimitReached, LogUnavailable, RecordDamaged
from gateway.protocol.appends import AppendOutcome
from gateway.protocol.requests import Append
from gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

# An append, who is to be told of its outcome, and when it came (perf_counter).
Waiting = tuple[Append, Callable[[AppendOutcome | HeadgateError], None], float]
OURS = (LogUnavailable, LimitReached, RecordDamaged)  # no mistakes of a client


class AppendFigures:
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
        """Count them all at once where all are stored and none is traced.

        Else it does nothing, and says so.
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
