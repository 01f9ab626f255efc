"""Counts of a route's answers: as metrics, and as a list for the console."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple, get_args

from typing_extensions import override

from headgate.dialects.progress import TokenUsage
from headgate_gateway.features.console.inspected_streams import ListedRuns
from headgate_gateway.features.models.record import Outcome
from headgate_gateway.features.questions.after import decode_after, encode_after
from headgate_gateway.features.questions.runs import AnswerRow, RunPage, RunRank, RunRow, RunStatus
from headgate_gateway.features.questions.streams import LARGEST_PAGE
from headgate_gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from headgate_gateway.features.models.answer import WrittenAnswer
    from headgate_gateway.features.models.answers import ModelAnswers
    from headgate_gateway.features.models.record import RequestEntry
    from headgate_gateway.features.models.streams import AnswerStreams
    from headgate_gateway.features.questions.runs import ListRuns


@dataclass(slots=True)
class AnswerCounts:
    """Counts of one answer while it comes; times are epoch seconds."""

    usage: TokenUsage = field(default_factory=TokenUsage)
    # Another process has recorded the end, or one will later, and counts the answer.
    count_elsewhere: bool = False
    events: int = 0
    first_events: int = 0  # those that came together with the first one
    size: int = 0  # bytes of the events
    first_at: float | None = None
    last_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None  # once it is over
    reason: str | None = None  # why it is not complete

    def count(self, events: int, size: int, now: float) -> None:
        """Count events of the provider that have come together."""
        self.events += events
        self.size += size
        self.last_at = now
        if self.first_at is None:
            self.first_at, self.first_events = now, events


# Models with counts of their own: each is two lines of the metrics.
MOST_MODELS = 1000
# Characters of a model's name; callers choose it, and the names of providers have 60 at most.
LONGEST_MODEL = 128
OTHER = "other"


class Tokens(NamedTuple):
    """The tokens of one model."""

    model: str
    input: int
    output: int


class TokenCounts:
    """Counts for a bounded number of models; all others are counted as `other`."""

    def __init__(self) -> None:
        self._models: dict[str, tuple[int, int]] = {}

    def __iter__(self) -> Iterator[Tokens]:
        for model, (sent, received) in self._models.items():
            yield Tokens(model, sent, received)

    def add(self, model: str | None, usage: TokenUsage) -> None:
        """Count the tokens of an answer.

        An answer without any counts no model: the provider may not have one of this name.
        """
        if not (usage.input_tokens or usage.output_tokens):
            return
        name = OTHER if model is None or len(model) > LONGEST_MODEL else model
        if name not in self._models and len(self._models) >= MOST_MODELS:
            name = OTHER
        before = self._models.get(name, (0, 0))
        added = usage.input_tokens or 0, usage.output_tokens or 0
        self._models[name] = before[0] + added[0], before[1] + added[1]


# Answers that ended in this process; each takes about 700 bytes. The log has them all.
MOST_ENDED = 1000
STATUSES: dict[Outcome, RunStatus] = {
    "complete": "finished",
    "failed": "failed",
    "aborted": "stopped",
    "left": "stopped",
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


def samples(route: str, answers: ModelAnswers) -> Iterator[Sample]:
    """Yield the samples of one route's answers."""
    yield Sample(RUNNING, (route,), len(answers.running))
    for outcome in get_args(Outcome):
        yield Sample(ENDED, (route, outcome), answers.stored.outcomes[outcome])
    yield Sample(JOINED, (route,), answers.joined_requests)
    yield Sample(REFUSED, (route,), answers.places.refused_requests)
    for tokens in answers.stored.tokens:
        of = route, tokens.model
        yield Sample(TOKENS, (*of, "input"), tokens.input)
        yield Sample(TOKENS, (*of, "output"), tokens.output)
