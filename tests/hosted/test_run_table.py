"""Which runs are known where there are more than can be."""

from __future__ import annotations

import pytest

from headgate import records
from headgate_gateway.features.runs import run_table
from headgate_gateway.features.runs.run_table import RunTable
from headgate_gateway.protocol.streams.state import Change, StreamState, records_after


def begun(path: str) -> Change:
    opening = tuple(records_after(0, [records.opening("sse")]))
    return Change(StreamState(path, 1, 1, "application/json", tail=opening[-1].end), None, opening)


def ended(path: str) -> Change:
    end = tuple(records_after(100, [records.end(records.ORPHANED)]))
    return Change(StreamState(path, 1, 1, "application/json", closed=True), 1, end)


@pytest.mark.parametrize(
    ("is_shared", "left"),
    [
        pytest.param(False, {"old", "new"}, id="a-private-log"),
        pytest.param(True, {"young", "new"}, id="a-shared-log"),
    ],
)
def test_a_running_run_is_retained_before_ended_ones_only_on_a_private_log(
    monkeypatch: pytest.MonkeyPatch, is_shared: bool, left: set[str]
) -> None:
    monkeypatch.setattr(run_table, "MOST_RUNS", 2)
    table = RunTable("/r", lambda: 1_000.0, None, is_shared=is_shared)
    table.on_settled(begun("old"))
    table.on_settled(begun("young"))
    table.on_stored(ended("young"), ())
    table.on_settled(begun("new"))
    assert {run.path for run in table} == left
    assert table.figures.forgotten == 1


def test_a_run_begun_again_replaces_the_one_before() -> None:
    table = RunTable("/r", lambda: 1_000.0, None, is_shared=False)
    table.on_settled(begun("r"))
    table.on_stored(ended("r"), ())
    table.on_settled(begun("r"))
    (run,) = table
    assert run.end is None
