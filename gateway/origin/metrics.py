"""Counts of requests at an origin: those in flight, and by result; times until responses began."""

from __future__ import annotations

from typing import NoReturn

from typing_extensions import override

from gateway.errors import (
    HeadgateError,
    LimitReached,
    OriginBroken,
    OriginTimeout,
    OriginUnreachable,
)
from gateway.origin.heads import AnswerKind
from gateway.telemetry.metrics import Histogram

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_FAILURES: dict[type[HeadgateError], str] = {
    OriginTimeout: "timeout",
    OriginUnreachable: "unreachable",
    OriginBroken: "broken",
    LimitReached: "refused",
}
RESULTS = ("2xx", "3xx", "4xx", "5xx", *_FAILURES.values())


class OriginMetrics:
    """Counts by result, and the seconds until the head of an answer; attempts are not told apart.

    A request that its client gave up is not counted: nothing became of it.
    """

    def __init__(self) -> None:
        self.results = dict.fromkeys(RESULTS, 0)
        self.duration = Histogram(SECONDS)
        self.surpluses = {kind.value: 0 for kind in AnswerKind}  # by what they were behind
        self.distrusted = 0  # answers that came on the same connections

    def answer_count(self) -> int:
        """Return how many answers there were, of whatever status."""
        return sum(self.results[f"{kind}xx"] for kind in range(2, 6))

    def answered(self, status: int) -> None:
        """Count a response, whose head is there."""
        self.results[f"{status // 100}xx"] += 1

    def failed(self, error: HeadgateError) -> None:
        """Count a request that failed by a fault of the origin, or by the limit."""
        result = _FAILURES.get(type(error))
        if result is not None:
            self.results[result] += 1


class RequestsInFlight:
    """The requests at an origin, of which there may be `most`.

    Each counts from before it is sent until its answer is released.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.count = 0
        self.refused = 0  # requests beyond max_origin_requests

    @override
    def __repr__(self) -> str:
        return f"{self.count} in flight"

    @property
    def is_full(self) -> bool:
        """True if one more request would be too many."""
        return self.count >= self.most

    def refuse(self) -> NoReturn:
        """Count a request that is too much, and raise LimitReached."""
        self.refused += 1
        raise LimitReached(
            f"as many requests wait for the origin as may: max_origin_requests, {self.most}"
        )
