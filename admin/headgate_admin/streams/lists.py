"""Answers of several processes to one question, merged into one."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from headgate_admin.errors import ConsoleError
from headgate_gateway.features.questions.streams import (
    LARGEST_PAGE,
    ExplainStep,
    Explanation,
    StreamPage,
    StreamRow,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from headgate_gateway.features.questions.readers import ReaderMode
    from headgate_gateway.features.questions.streams import (
        ListStreams,
        StreamDescription,
        StreamOrder,
    )

_RANKS: dict[StreamOrder, Callable[[StreamRow], float]] = {
    "readers": lambda row: row.readers,
    "rate": lambda row: row.rate or 0,
    "growth": lambda row: row.growth or 0,
    "size": lambda row: row.size or 0,
}


def asked(question: ListStreams, processes: int) -> ListStreams:
    """Return the question for each of several processes, from which the page can be made.

    Each ranks the streams by its own activity. Only streams that all rank high can be ranked
    together, so each is asked for its longest page, and the list ends with those streams.
    """
    if processes == 1 or question.order == "name":
        return question
    return msgspec.structs.replace(question, after="", limit=LARGEST_PAGE)


def page(question: ListStreams, answers: Sequence[StreamPage], processes: int) -> StreamPage:
    """Merge the lists of the processes into a page. Raises ConsoleError for an invalid `after`."""
    if processes == 1:
        return answers[0]
    rows: dict[str, StreamRow] = {}
    for answer in answers:
        for row in answer.rows:
            rows[row.name] = _both(rows[row.name], row) if row.name in rows else row
    merge = _by_name if question.order == "name" else _ranked
    shown, after = merge(question, answers, rows)
    surveys = [answer.as_of for answer in answers if answer.as_of is not None]
    known_only = any(answer.known_only for answer in answers)
    # All compare the same names of a log, and the page ends where the first of them ended.
    compared = min(answer.compared for answer in answers)
    return StreamPage(tuple(shown), after, min(surveys, default=None), known_only, compared)


def _by_name(
    question: ListStreams, answers: Sequence[StreamPage], rows: Mapping[str, StreamRow]
) -> tuple[list[StreamRow], str | None]:
    """Merge by name up to where the first page ends, so that the next one misses nothing."""
    ordered = sorted(rows.values(), key=lambda row: row.name)
    after = min((it.after for it in answers if it.after is not None), default=None)
    if after is not None:
        ordered = [row for row in ordered if row.name <= after]
    if len(ordered) > question.limit:
        ordered = ordered[: question.limit]
        after = ordered[-1].name
    return ordered, after


def _ranked(
    question: ListStreams, _answers: Sequence[StreamPage], rows: Mapping[str, StreamRow]
) -> tuple[list[StreamRow], str | None]:
    """Return the next rows of all; `after` is the number of rows on earlier pages."""
    if question.after and not (question.after.isascii() and question.after.isdecimal()):
        raise ConsoleError(400, "after is not where a page of this order ended")
    rank = _RANKS[question.order]
    ordered = sorted(rows.values(), key=lambda row: (-rank(row), row.name))
    begin = int(question.after[:9] or 0)
    end = begin + question.limit
    return ordered[begin:end], str(end) if end < len(ordered) else None


def descriptions(answers: Sequence[StreamDescription]) -> StreamDescription:
    """Merge the descriptions of a stream: its readers are those of all processes."""
    one = answers[0]
    for other in answers[1:]:
        one = msgspec.structs.replace(
            one,
            row=_both(one.row, other.row),
            metadata=other.metadata | one.metadata,
            producers=one.producers or other.producers,
            producers_in_all=_most(one.producers_in_all, other.producers_in_all),
            readers_by_mode=_sums(one.readers_by_mode, other.readers_by_mode),
        )
    return one


def explanations(answers: Sequence[Explanation]) -> Explanation:
    """Return the steps of one process, and the outcome of each if they differ."""
    first = answers[0]
    if all(answer == first for answer in answers):
        return first
    results = Counter(answer.result for answer in answers)
    step = ExplainStep(
        "Which worker answers",
        ", ".join(f"{result} in {count}" for result, count in results.items()),
        "each worker has a cache of its own; the steps above are those of one of them",
    )
    return Explanation((*first.steps, step), " or ".join(results))


def _both(one: StreamRow, other: StreamRow) -> StreamRow:
    """Merge two rows of a stream: known fields from either, the sums of readers and rates."""
    known = {
        name: getattr(other, name) if getattr(one, name) is None else getattr(one, name)
        for name in ("content_type", "tail", "size", "expires_at", "forked_from", "created_at")
    }
    return msgspec.structs.replace(
        one,
        **known,
        closed=one.closed or other.closed,
        readers=one.readers + other.readers,
        rate=None if one.rate is None or other.rate is None else one.rate + other.rate,
        growth=other.growth if one.growth is None else one.growth + (other.growth or 0),
        last_append_at=_most(one.last_append_at, other.last_append_at),
    )


def _most(one: float | None, other: float | None) -> float | None:
    return max(one or 0, other or 0) if one is not None or other is not None else None


def _sums(one: dict[ReaderMode, int], other: dict[ReaderMode, int]) -> dict[ReaderMode, int]:
    return {mode: one.get(mode, 0) + other.get(mode, 0) for mode in (*one, *other)}
