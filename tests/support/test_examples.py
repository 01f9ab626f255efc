"""What is marked with `torture` is played by `make torture`, and by nothing else."""

from __future__ import annotations

import pytest

from tests.support.examples import IS_WHOLE, cases, leave_to_torture

OF_TWO = cases(["here", "there"], {"here"}, "the other one")


@pytest.mark.parametrize("where", OF_TWO)
def test_cases_left_to_torture_run_only_there(where: str) -> None:
    assert where == "here" or IS_WHOLE


@pytest.mark.torture("the one above")
def test_a_test_marked_torture_runs_only_in_torture() -> None:
    assert IS_WHOLE


def test_a_torture_mark_without_a_reason_is_refused(request: pytest.FixtureRequest) -> None:
    request.node.add_marker(pytest.mark.torture("another"))
    kept, left = leave_to_torture([request.node])
    assert (kept or left) == [request.node]
    request.node.own_markers.pop()
    request.node.add_marker(pytest.mark.torture)
    with pytest.raises(pytest.UsageError, match="say in its mark `torture` what stands for it"):
        leave_to_torture([request.node])
