"""What several processes know of runs, as one page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from headgate_admin.streams import runs
from headgate_gateway.features.questions.runs import ListRuns, RunPage, RunRow

if TYPE_CHECKING:
    from headgate_admin.model.streams import RunView

NOW = 2_000.0


def row(name: str = "r", **known: Any) -> RunRow:
    return RunRow(**{"name": name, "status": "active", "created_at": 1_000, "size": 100, **known})


def shown(*of_one: RunRow) -> RunView:
    (view,) = runs.page(ListRuns("/r"), [RunPage((it,)) for it in of_one], NOW).runs
    return view


def test_parts_of_a_run_in_several_workers_are_summed_when_complete() -> None:
    begun = row(started_at=1_000.25, seen_bytes=40, items=1)
    written = row(
        first_item_at=1_001.25, last_item_at=1_003.25, items=5, first_items=1, seen_bytes=60
    )
    view = shown(begun, written)
    assert (view.items, view.first_item_after, view.items_per_second) == (6, 1.0, 2.0)
    assert (view.started_at, view.lasted) == (1_000.25, 999.75)


def test_a_run_partly_written_elsewhere_shows_only_figures_of_the_log() -> None:
    seen = row(started_at=1_000.25, first_item_at=1_001.25, items=3, seen_bytes=99)
    assert (shown(seen).items, shown(seen).first_item_after) == (None, None)
    assert shown(row(items=3, seen_bytes=99, counted=4)).items == 4


def test_parts_of_a_run_from_different_moments_are_summed_as_of_the_earlier_one() -> None:
    earlier = row(items=2, seen_bytes=50, size=100)
    later = row(items=3, seen_bytes=70, size=130)
    assert shown(earlier, later).items == 5


def test_a_worker_that_saw_the_end_of_a_run_decides_its_status() -> None:
    ended = row(status="stopped", ended_at=1_004.0)
    view = shown(row(), ended)
    assert (view.status, view.lasted) == ("stopped", 4.0)
    assert shown(row(status="orphaned", error="gone")).lasted is None


def test_consecutive_pages_of_merged_runs_list_every_run_once() -> None:
    names = [f"r{number}" for number in range(5)]
    question, seen = ListRuns("/r", limit=2), []
    while True:
        *_, last = json.loads(question.after or '[""]')
        rest = tuple(row(name) for name in names if name > last)
        more = "some" if len(rest) > 2 else None
        # The second process knows of nothing but what it has written itself.
        answers = [RunPage(rest[:2], more), RunPage(rest[1:2])]
        page = runs.page(question, answers, NOW)
        seen += [it.name for it in page.runs]
        if page.after is None:
            break
        question = ListRuns("/r", after=page.after, limit=2)
    assert seen == names
