"""What became of appends, counted as each outcome is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.backends.commit_figures import BOUNDS_S
from gateway.errors import LimitReached, LogUnavailable, RecordDamaged
from gateway.protocol.appends import Appended
from gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from gateway.errors import HeadgateError
    from gateway.protocol.requests import Append

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

    def count(self, append: Append, outcome: Appended | HeadgateError, seconds: float) -> None:
        """Count an append whose outcome is known, so long after its body was here."""
        if not append.body:
            return
        if isinstance(outcome, Appended):
            if outcome.stored:
                self.stored += 1
                self.messages += outcome.stored
                self.bytes += len(append.body)
            else:
                self.duplicate += 1
        elif isinstance(outcome, OURS):
            self.failed += 1
        else:
            self.refused += 1
        self.duration.observe(seconds, trace_id=append.trace_id)
