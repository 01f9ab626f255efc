"""The list of a route's answers, for the console: those that run, and the latest that ended."""

from __future__ import annotations

import heapq
from collections import deque
from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.features.console.inspected_streams import ListedRuns
from gateway.features.questions.after import decode_after, encode_after
from gateway.features.questions.runs import AnswerRow, RunPage, RunRank, RunRow, RunStatus
from gateway.features.questions.streams import LARGEST_PAGE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gateway.features.models.answer import WrittenAnswer
    from gateway.features.models.counts.answer_counts import AnswerCounts
    from gateway.features.models.record import Outcome, RequestEntry
    from gateway.features.models.streams import AnswerStreams
from gateway.features.questions.runs import ListRuns

# Answers that ended in this process; each takes about 700 bytes. The log has them all.
MOST_ENDED = 1000
STATUSES: dict[Outcome, RunStatus] = {
    "complete": "finished",
    "failed": "failed",
    "aborted": "stopped",
    "left": "stopped",
    "unknown": "orphaned",
}


class ListedAnswers(ListedRuns):
    """The answers of one route in this process, as pages in a sorted order."""

    def __init__(self, streams: AnswerStreams, running: Iterable[WrittenAnswer]) -> None:
        self._streams = streams
        self._running = running
        self._ended: deque[RunRow] = deque(maxlen=MOST_ENDED)

    def add_ended(self, answer: WrittenAnswer) -> None:
        """Add an answer that is over."""
        self._ended.append(self._row(answer.name, answer.request, answer.counts))

    @override
    async def page(self, question: ListRuns) -> RunPage:
        after = decode_after(question.after, RunRank)
        running = (self._row(one.name, one.request, one.counts) for one in self._running)
        rows = [
            row
            for row in (*running, *self._ended)
            if question.status in {None, row.status} and (after is None or row.rank > after)
        ]
        limit = max(1, min(question.limit, LARGEST_PAGE))
        page = heapq.nsmallest(limit, rows, key=lambda row: row.rank)
        return RunPage(tuple(page), encode_after(page[-1].rank) if len(rows) > limit else None)

    def _row(self, name: str, request: RequestEntry, counts: AnswerCounts) -> RunRow:
        status: RunStatus = "active" if counts.outcome is None else STATUSES[counts.outcome]
        return RunRow(
            name=self._streams.full_name(name),
            answer=AnswerRow(
                self._streams.route.prefix,
                request.model,
                counts.usage.input_tokens,
                counts.usage.output_tokens,
            ),
            status=status,
            error=counts.reason,
            created_at=int(request.began_at),
            started_at=request.began_at,
            first_item_at=counts.first_at,
            last_item_at=counts.last_at,
            ended_at=counts.ended_at,
            items=counts.events,
            first_items=counts.first_events,
            seen_bytes=counts.size,
            size=counts.size,
        )
