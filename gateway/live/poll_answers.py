"""The answers that long-polls were given: each is counted once for all who have it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.live.contract import PollAnswer
    from gateway.telemetry.traffic import Traffic


class GivenAnswers:
    """The answers that went to readers who are not counted yet."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self._uncounted: list[PollAnswer] = []

    def note(self, answer: PollAnswer) -> None:
        """Note that one more reader gets an answer."""
        if answer.is_counted:
            self._uncounted.append(answer)
        answer.given += 1

    def count(self) -> None:
        """Count everybody."""
        traffic = self._traffic
        live = traffic.live
        for answer in self._uncounted:
            readers, begun = answer.count()
            live.long_poll.leaves[answer.ended] += readers
            if answer.ended == "answered":
                live.long_poll.delivered(readers, len(answer.response.body))
            if answer.told is not None:
                at, trace_id = answer.told
                live.delays.observe(perf_counter() - at, readers, trace_id)
            traffic.polls_answered(answer.response, begun)
        self._uncounted.clear()
