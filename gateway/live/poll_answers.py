"""The responses to long-polls: each is rendered and counted once for all that get it."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from gateway.live.contract import PollAnswer

if TYPE_CHECKING:
    from gateway.errors import HeadgateError
    from gateway.live.contract import FeedContext, NewsAge
    from gateway.protocol.responses import Response
    from gateway.telemetry.live_traffic import Ended
    from gateway.telemetry.traffic import Traffic


class UncountedAnswers:
    """The poll `answers` with readers that the metrics do not include yet."""

    def __init__(self, traffic: Traffic) -> None:
        self._traffic = traffic
        self.answers: list[PollAnswer] = []

    def count(self) -> None:
        """Add the readers of these answers to the metrics."""
        traffic = self._traffic
        live = traffic.live
        for answer in self.answers:
            readers, resumes = answer.count()
            live.long_poll.departures[answer.ended] += readers
            if answer.ended == "answered":
                live.long_poll.delivered(readers, len(answer.response.body))
            if answer.age is not None:
                at, trace_id = answer.age
                live.delays.observe(perf_counter() - at, readers, trace_id)
            traffic.polls_answered(answer.response, resumes)
        self.answers.clear()


def answer_of(
    shared: FeedContext, response: Response, ended: Ended, age: NewsAge | None = None
) -> PollAnswer:
    """Render a response as the answer to equal long-polls."""
    return PollAnswer(*shared.collapsed(response), ended, age)


def refusal_of(shared: FeedContext, reason: HeadgateError, ended: Ended) -> PollAnswer:
    """Render an error as the answer to long-polls."""
    return answer_of(shared, shared.problem(reason), ended)
