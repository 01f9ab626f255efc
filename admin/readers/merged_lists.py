"""Lists of readers and principals: the answers of several processes, merged into one."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from gateway.features.questions.after import encode_after
from gateway.features.questions.readers import (
    ReaderGroups,
    ReaderPage,
    UsageList,
    UsageRow,
    merged,
    rank,
    usage_rank,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.features.questions.readers import ListReaders, ReaderGroup, UsageOrder

MOST_SHOWN = 100  # groups and principals: a page that somebody reads


def page_of(question: ListReaders, answers: Sequence[ReaderPage]) -> ReaderPage:
    """Merge the pages of the processes, each of which has the first readers of its own."""
    order, limit = question.order, question.limit
    rows = sorted((row for it in answers for row in it.rows), key=lambda row: rank(order, row))
    more = None
    if len(rows) > limit or any(it.after is not None for it in answers):
        rows = rows[:limit]
        more = encode_after(rank(order, rows[-1]))
    return ReaderPage(tuple(rows), sum(it.total for it in answers), more)


def groups_of(answers: Sequence[ReaderGroups]) -> ReaderGroups:
    """Merge the groups of the processes, and return the largest."""
    found: dict[str, ReaderGroup] = {}
    for answer in answers:
        for row in answer.rows:
            found[row.key] = merged(found[row.key], row) if row.key in found else row
    largest = sorted(found.values(), key=attrgetter("readers"), reverse=True)
    total = max(len(found), *(it.total for it in answers))
    return ReaderGroups(tuple(largest[:MOST_SHOWN]), total)


def usages_of(order: UsageOrder, answers: Sequence[UsageList]) -> UsageList:
    """Merge the principals of the processes, and return those of most use."""
    found: dict[str, UsageRow] = {}
    for answer in answers:
        for row in answer.rows:
            found[row.account] = _sum(found[row.account], row) if row.account in found else row
    first = sorted(found.values(), key=lambda row: usage_rank(order, row))
    total = max(len(found), *(it.total for it in answers))
    return UsageList(tuple(first[:MOST_SHOWN]), total)


def _sum(one: UsageRow, other: UsageRow) -> UsageRow:
    last = [it.last_used_at for it in (one, other) if it.last_used_at is not None]
    return UsageRow(
        account=one.account,
        name=one.name,
        requests=one.requests + other.requests,
        appends=one.appends + other.appends,
        failures=one.failures + other.failures,
        sent_bytes=one.sent_bytes + other.sent_bytes,
        received_bytes=one.received_bytes + other.received_bytes,
        readers=one.readers + other.readers,
        last_used_at=max(last, default=None),
    )
