"""The completions of a route as metrics, and as a list for the console."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.features.console.inspected_streams import ListedRuns
from headgate_gateway.features.questions.after import decode_after, encode_after
from headgate_gateway.features.questions.runs import AnswerRow, RunPage, RunRank, RunRow, RunStatus
from headgate_gateway.features.questions.streams import LARGEST_PAGE
from headgate_gateway.telemetry.metrics import counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate_gateway.features.models.ends import Outcome
    from headgate_gateway.features.models.streams import CompletionStreams
    from headgate_gateway.features.models.writer import WrittenCompletion
    from headgate_gateway.features.questions.runs import ListRuns


# Completions that ended in this process; each takes about 700 bytes. The log has them all.
MOST_ENDED = 1000
STATUSES: dict[Outcome, RunStatus] = {
    "complete": "finished",
    "failed": "failed",
    "aborted": "stopped",
    "left": "stopped",
}


class ListedCompletions(ListedRuns):
    """The completions of one route in this process, as pages in a sorted order."""

    def __init__(self, streams: CompletionStreams, running: Iterable[WrittenCompletion]) -> None:
        self._streams = streams
        self._running = running
        self._ended: deque[RunRow] = deque(maxlen=MOST_ENDED)

    def add_ended(self, completion: WrittenCompletion) -> None:
        """Add a completion that is over."""
        self._ended.append(self._row(completion))

    @override
    async def page(self, question: ListRuns) -> RunPage:
        after = decode_after(question.after, RunRank)
        rows = [
            row
            for row in (*map(self._row, self._running), *self._ended)
            if question.status in {None, row.status} and (after is None or row.rank > after)
        ]
        limit = max(1, min(question.limit, LARGEST_PAGE))
        page = heapq.nsmallest(limit, rows, key=lambda row: row.rank)
        return RunPage(tuple(page), encode_after(page[-1].rank) if len(rows) > limit else None)

    def _row(self, completion: WrittenCompletion) -> RunRow:
        request, counts, end = completion.request, completion.counts, completion.end
        return RunRow(
            name=self._streams.full_name(completion.name),
            answer=AnswerRow(
                self._streams.route.prefix,
                request.model,
                counts.usage.input_tokens,
                counts.usage.output_tokens,
            ),
            status="active" if end is None else STATUSES[end.outcome],
            error=None if end is None else end.reason,
            created_at=int(request.began_at),
            started_at=request.began_at,
            first_item_at=counts.first_at,
            last_item_at=counts.last_at,
            ended_at=None if end is None else end.ended_at,
            items=counts.events,
            first_items=counts.first_events,
            seen_bytes=counts.size,
            size=counts.size,
        )


RUNNING = gauge(
    "headgate_model_answers_running", "Answers of models that are written now.", "route"
)
ENDED = counter(
    "headgate_model_answers_total",
    "Answers of models, by how they ended: complete, failed, or aborted by a deletion or a stop.",
    "route",
    "outcome",
)
JOINED = counter(
    "headgate_model_answers_joined_total",
    "Requests that got an answer which another request had begun.",
    "route",
)
REFUSED = counter(
    "headgate_model_answers_refused_total",
    "Requests that were refused because too many answers ran.",
    "route",
)
TOKENS = counter(
    "headgate_model_tokens_total",
    "Tokens that providers counted for stored answers, once for each answer.",
    "route",
    "model",
    "kind",
)
RETRIED = counter(
    "headgate_model_retries_total",
    "Requests that were sent to the next of a provider's servers.",
    "route",
)
PASSED = gauge(
    "headgate_model_passed_running",
    "Requests that are passed on now and do not ask for an answer.",
    "route",
)
PASSED_REFUSED = counter(
    "headgate_model_passed_refused_total",
    "Requests that were refused because too many were passed on.",
    "route",
)
