"""Lists of readers and of loads: the answers of several processes, merged into one."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from headgate_gateway.features.questions.after import merged_page
from headgate_gateway.features.questions.loudest import LoudestList
from headgate_gateway.features.questions.readers import (
    ReaderGroups,
    ReaderPage,
    merged,
    rank,
    sum_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.features.questions.loudest import ClientLoad, Load, StreamLoad
    from headgate_gateway.features.questions.readers import ListReaders, ReaderGroup

L = TypeVar("L", bound="Load")

LOAD = attrgetter("load")
MOST_SHOWN = 100  # groups: a page that somebody reads


def page_of(question: ListReaders, answers: Sequence[ReaderPage]) -> ReaderPage:
    """Merge the pages of the processes, each of which has the first readers of its own."""
    shown, after = merged_page(
        (row for it in answers for row in it.rows),
        lambda row: rank(question.order, row),
        question.limit,
        has_more=any(it.after is not None for it in answers),
    )
    sums = sum_of([it.sums for it in answers])
    return ReaderPage(shown, sums.readers, after, sums)


def groups_of(answers: Sequence[ReaderGroups]) -> ReaderGroups:
    """Merge the groups of the processes, and return the largest."""
    found: dict[str, ReaderGroup] = {}
    for answer in answers:
        for row in answer.rows:
            found[row.key] = merged(found[row.key], row) if row.key in found else row
    largest = sorted(found.values(), key=attrgetter("readers"), reverse=True)
    total = max(len(found), *(it.total for it in answers))
    return ReaderGroups(tuple(largest[:MOST_SHOWN]), total, sum_of([it.sums for it in answers]))


def loudest_of(answers: Sequence[LoudestList]) -> LoudestList:
    """Add up the loads that clients and streams cause in several processes, the largest first."""
    clients: dict[tuple[str | None, ...], ClientLoad] = {}
    streams: dict[tuple[str | None, ...], StreamLoad] = {}
    for answer in answers:
        for client in answer.clients:
            _add(clients, (client.account, client.address, client.user_agent), client)
        for stream in answer.streams:
            _add(streams, (stream.route, stream.name), stream)
    return LoudestList(
        tuple(sorted(clients.values(), key=LOAD, reverse=True)),
        tuple(sorted(streams.values(), key=LOAD, reverse=True)),
        sum(it.missed for it in answers),
    )


def _add(rows: dict[tuple[str | None, ...], L], key: tuple[str | None, ...], row: L) -> None:
    known = rows.get(key)
    if known is None:
        rows[key] = row
        return
    rows[key] = replace(
        known,
        load=known.load + row.load,
        requests=known.requests + row.requests,
        appends=known.appends + row.appends,
        refused=known.refused + row.refused,
        sent_bytes=known.sent_bytes + row.sent_bytes,
        received_bytes=known.received_bytes + row.received_bytes,
    )
