"""Kills at any moment: a run is taken over again and again, and its reader has each step once.

Each killed process
was in the middle of something: of a step whose words come one by one, of one that is given as a
whole, of its claim, or between two steps. The next one does not wait until it counts as gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import secrets
import signal
from itertools import groupby
from typing import TYPE_CHECKING

from headgate import Closed
from headgate.runs import Runs, RunState, Step

from tests.client.runs.killed import PATIENCE_S, ended, forked

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.runs import Written

STEPS, WORDS = 30, 5
PAUSE_S = 0.003  # between two words
LONGEST_LIFE_S = 0.5


def words(step: int) -> list[str]:
    """Return what a step says."""
    return [f"{step}.{number} " for number in range(WORDS)]


def is_live(step: int) -> bool:
    """Return whether readers have the words of a step as they come."""
    return step % 2 == 0


async def source(written: Written) -> AsyncIterator[object]:
    """Do the steps that are not done."""
    for step in range(len(written.steps), STEPS):
        if not is_live(step):
            await asyncio.sleep(PAUSE_S)
            yield Step(str(step), items=words(step))
            continue
        for word in words(step):
            await asyncio.sleep(PAUSE_S)
            yield word
        yield Step(str(step))


async def work(url: str, run_id: str) -> None:
    """Go on with a run to its end."""
    async with Runs(url, takeover_within=60) as runs:
        with contextlib.suppress(Closed):  # the one before was killed behind the end
            await runs.take_over(run_id, source, only_orphaned=False)
        assert await runs.state(run_id) == RunState("finished")


async def killed_again_and_again(url: str, kills: int) -> str:
    """Return what a reader has who reads along, whatever dies."""
    run_id = secrets.token_hex(4)
    async with Runs(url) as runs:

        async def read() -> str:
            answer = await runs.follow(run_id, wait=PATIENCE_S)
            assert answer is not None
            return b"".join([piece async for piece in answer.body]).decode()

        reading = asyncio.create_task(read())
        for _ in range(kills):
            process = await forked("takeover_campaign", "work", url, run_id)
            await asyncio.sleep(random.uniform(0.02, LONGEST_LIFE_S))
            process.kill()
            if await ended(process) == 0:  # it has come to its end
                break
            assert process.exitcode == -signal.SIGKILL
        else:
            assert await ended(await forked("takeover_campaign", "work", url, run_id)) == 0
        return await asyncio.wait_for(reading, PATIENCE_S)


def check(text: str) -> int:
    """Raise unless each step is told once as a whole; return how many were begun anew."""
    told = [(int(word.split(".")[0]), f"{word} ") for word in text.split()]
    steps = [
        (step, [word for _, word in said]) for step, said in groupby(told, lambda each: each[0])
    ]
    assert [step for step, _ in steps] == [*range(STEPS)], "a step is missing, or comes late"
    begun_anew = 0
    for step, said in steps:
        assert said[-WORDS:] == words(step), f"step {step} is not whole: {said}"
        rest = said[:-WORDS]
        assert is_live(step) or not rest, f"step {step} is told twice: {said}"
        while rest:
            size = max(n for n in range(1, WORDS + 1) if rest[:n] == words(step)[:n])
            rest = rest[size:]
            begun_anew += 1
    return begun_anew
