"""What became of appends, counted as each outcome is known."""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from gateway.backends.commit_figures import BOUNDS_S
from gateway.errors import LimitReached, LogUnavailable, RecordDamaged
from gateway.protocol.appends import Appended
from gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.errors import HeadgateError
    from gateway.protocol.requests import Append

    # And how long after its body was here it was known, in seconds.
    Outcome = tuple[Append, Appended | HeadgateError, float]

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

    def count(self, answered: Iterable[Outcome]) -> None:
        """Count appends whose outcome is known now, a commit's together."""
        stored = messages = size = 0
        duration = self.duration
        counts, bounds, took_s = duration.counts, duration.bounds, 0.0
        for append, outcome, seconds in answered:
            if not append.body:
                continue
            if isinstance(outcome, Appended) and outcome.stored:
                stored += 1
                messages += outcome.stored
                size += len(append.body)
            else:
                self._not_stored(outcome)
            if append.trace_id is None:  # as nearly all: a call for each would cost as much again
                counts[bisect_left(bounds, seconds)] += 1
                took_s += seconds
            else:
                duration.observe(seconds, trace_id=append.trace_id)
        duration.sum += took_s
        self.stored += stored
        self.messages += messages
        self.bytes += size

    def _not_stored(self, outcome: Appended | HeadgateError) -> None:
        if isinstance(outcome, Appended):
            self.duplicate += 1
        elif isinstance(outcome, OURS):
            self.failed += 1
        else:
            self.refused += 1
