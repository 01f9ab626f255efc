"""Long work in steps: what others wait for, however many have some to do."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.background import LONGEST_TURN_S, Turns

if TYPE_CHECKING:
    from collections.abc import Generator

STEPS = 3


class Work:
    """Counts the steps of all who have long work to do. Each is as long as a turn, or no time."""

    def __init__(self, step_s: float = LONGEST_TURN_S) -> None:
        self.done: list[str] = []
        self._step_s = step_s

    def steps(self, name: str) -> Generator[None, None, str]:
        time = asyncio.get_running_loop().time
        for _ in range(STEPS):
            self.done.append(name)
            ends = time() + self._step_s
            while time() < ends:
                pass
            yield
        return name


async def most_in_a_pass(work: Work, tasks: list[asyncio.Task[str]]) -> int:
    """How many steps others wait for, at most, between two of their own turns."""
    most = 0
    while not all(task.done() for task in tasks):
        before = len(work.done)
        await asyncio.sleep(0)
        most = max(most, len(work.done) - before)
    return most


@pytest.mark.parametrize("workers", [1, 2, 10])
async def test_other_tasks_wait_for_one_step_however_many_have_long_work(workers: int) -> None:
    turns, work = Turns(), Work()
    names = [f"worker {number}" for number in range(workers)]
    tasks = [asyncio.create_task(turns.run(work.steps(name))) for name in names]
    assert await most_in_a_pass(work, tasks) == 1
    assert [task.result() for task in tasks] == names
    assert work.done == names * STEPS  # in turns


async def test_several_short_steps_share_one_pass_of_the_loop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "headgate_gateway.background.LONGEST_TURN_S", 10.0
    )  # on a busy machine, too
    turns, work = Turns(), Work(step_s=0.0)
    task = asyncio.create_task(turns.run(work.steps("worker")))
    assert await most_in_a_pass(work, [task]) == STEPS


async def test_a_task_cancelled_during_long_work_does_not_stop_the_others() -> None:
    turns, work = Turns(), Work()
    gone, stays = (asyncio.create_task(turns.run(work.steps(name))) for name in ("gone", "stays"))
    while "stays" not in work.done:
        await asyncio.sleep(0)
    gone.cancel()
    assert await stays == "stays"
    assert work.done.count("stays") == STEPS


async def test_an_error_in_long_work_is_raised_only_to_its_owner() -> None:
    def fails() -> Generator[None, None, str]:
        yield
        raise ValueError("no JSON")

    turns, work = Turns(), Work()
    failing = asyncio.create_task(turns.run(fails()))
    other = asyncio.create_task(turns.run(work.steps("other")))
    with pytest.raises(ValueError, match="no JSON"):
        await failing
    assert await other == "other"
