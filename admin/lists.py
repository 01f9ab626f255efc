"""What several processes answer to one question, as one answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.telemetry.inspection import MOST_READERS, StreamPage, StreamRow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from gateway.telemetry.inspection import (
        ListStreams,
        ReaderMode,
        StreamDescription,
        StreamOrder,
    )

_KEYS: dict[StreamOrder, Callable[[StreamRow], float]] = {
    "readers": lambda row: -row.readers,
    "rate": lambda row: -row.rate,
    "size": lambda row: -(row.size or 0),
}


def pages(question: ListStreams, answers: Sequence[StreamPage]) -> StreamPage:
    """One page of what each process lists.

    All see the same log, but each has its own readers, and may know streams of an HTTP origin that
    others have not been asked for. By name the page ends where the first of theirs does, so that
    the next one misses nothing.
    """
    if len(answers) == 1:
        return answers[0]
    rows: dict[str, StreamRow] = {}
    for answer in answers:
        for row in answer.rows:
            rows[row.name] = _both(rows[row.name], row) if row.name in rows else row
    after, ordered = None, sorted(rows.values(), key=lambda row: row.name)
    unfinished = [answer for answer in answers if answer.after is not None and answer.rows]
    if question.order == "name" and unfinished:
        first = min(unfinished, key=lambda answer: answer.rows[-1].name)
        ordered = [row for row in ordered if row.name <= first.rows[-1].name]
        after = first.after
    elif question.order != "name":
        ordered = sorted(ordered, key=_KEYS[question.order])[: question.limit]
        after = unfinished[0].after if unfinished else None
    surveys = [answer.as_of for answer in answers if answer.as_of is not None]
    return StreamPage(
        tuple(ordered),
        after,
        min(surveys, default=None),
        any(answer.known_only for answer in answers),
    )


def descriptions(answers: Sequence[StreamDescription]) -> StreamDescription:
    """One stream as each process knows it: its readers are those of all."""
    one = answers[0]
    for other in answers[1:]:
        readers = sorted((*one.readers, *other.readers), key=lambda it: -(it.behind or 0))
        one = msgspec.structs.replace(
            one,
            row=_both(one.row, other.row),
            metadata=other.metadata | one.metadata,
            producers=one.producers or other.producers,
            producers_in_all=max(one.producers_in_all, other.producers_in_all),
            readers=tuple(readers[:MOST_READERS]),
            readers_by_mode=_modes((one.readers_by_mode, other.readers_by_mode)),
        )
    return one


def _both(one: StreamRow, other: StreamRow) -> StreamRow:
    """What is known from either; readers and rates add up."""
    known = {
        name: getattr(other, name) if getattr(one, name) is None else getattr(one, name)
        for name in ("content_type", "tail", "size", "expires_at", "forked_from", "created_at")
    }
    return msgspec.structs.replace(
        one,
        **known,
        closed=one.closed or other.closed,
        readers=one.readers + other.readers,
        rate=one.rate + other.rate,
    )


def _modes(told: Iterable[dict[ReaderMode, int]]) -> dict[ReaderMode, int]:
    found: dict[ReaderMode, int] = {}
    for modes in told:
        for mode, count in modes.items():
            found[mode] = found.get(mode, 0) + count
    return found
