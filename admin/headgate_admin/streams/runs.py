"""Runs as several processes know them, made into what is shown of each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_admin.model.streams import RunsView, RunView
from headgate_gateway.features.questions.after import merged_page

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from headgate_gateway.features.questions.runs import ListRuns, RunPage, RunRow


def page(question: ListRuns, answers: Sequence[RunPage], now: float) -> RunsView:
    """Return one page of what the processes list, each of which lists in the same order."""
    rows: dict[str, list[RunRow]] = {}
    for answer in answers:
        for row in answer.rows:
            rows.setdefault(row.name, []).append(row)
    further = [it.after for it in answers if it.after is not None]
    shown, after = merged_page(
        rows.values(),
        lambda of_one: _latest(of_one).rank,
        question.limit,
        has_more=bool(further),
    )
    if not shown and further:  # none of those that were looked at fits
        after = max(further)
    is_cut = any(it.is_cut for it in answers)
    return RunsView(tuple(_view(of_one, now) for of_one in shown), after, is_cut)


def _latest(rows: Sequence[RunRow]) -> RunRow:
    """Return what the process says that knows of an end, if any does: it looked last."""
    return next((row for row in rows if row.status != "active"), rows[0])


def _view(rows: Sequence[RunRow], now: float) -> RunView:
    row = _latest(rows)
    # Each tells what it has stored itself, and how long the stream was at that moment.
    is_whole = sum(it.seen_bytes for it in rows) >= min(it.size for it in rows)
    started_at = _least(it.started_at for it in rows)
    first_at = _least(it.first_item_at for it in rows) if is_whole else None
    ended_at = _least(it.ended_at for it in rows)
    until = now if row.status == "active" else ended_at
    begun_at = started_at if started_at is not None else row.created_at
    counted = next((it.counted for it in rows if it.counted is not None), None)
    return RunView(
        name=row.name,
        status=row.status,
        error=row.error,
        started_at=begun_at,
        lasted=None if until is None or begun_at is None else max(0.0, until - begun_at),
        first_item_after=None if first_at is None or started_at is None else first_at - started_at,
        items=sum(it.items for it in rows) if is_whole else counted,
        items_per_second=_rate(rows),
        answer=row.answer,
    )


def _rate(rows: Sequence[RunRow]) -> float | None:
    """Return the items a second from the first that was seen here to the last."""
    seen = [row for row in rows if row.first_item_at is not None and row.last_item_at is not None]
    if not seen:
        return None
    first = min(seen, key=lambda row: row.first_item_at or 0.0)
    items = sum(row.items for row in seen) - first.first_items
    lasted = max(row.last_item_at or 0.0 for row in seen) - (first.first_item_at or 0.0)
    return items / lasted if items > 0 and lasted > 0 else None


def _least(times: Iterable[float | None]) -> float | None:
    return min((it for it in times if it is not None), default=None)
