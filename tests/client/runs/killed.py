"""Answers whose workers are killed, each forked off a process that has imported what they need.

What they import takes seconds, so it is imported once, and by no process of pytest.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import multiprocessing
import os
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from headgate import SourceFailed
from tests.support.waiting import until

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

    from headgate.runs import Runs

PATIENCE_S = 150.0  # the first start waits for what processes import
PRELOADED = ("graph_worker", "temporal_worker")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([f"{__package__}.{name}" for name in PRELOADED])


@dataclass(frozen=True)
class Moment:
    """When a process dies: at a step, where in it, and what its reader has. None lives on."""

    step: str = ""
    where: str = ""
    shown: str = ""

    def reached(self, step: str, where: str) -> None:
        """Be killed, if it is now."""
        if (step, where) == (self.step, self.where):
            os.kill(os.getpid(), signal.SIGKILL)

    async def held(self, step: str, where: str) -> None:
        """Go on no more, if it is now, until somebody kills the process."""
        if (step, where) == (self.step, self.where):
            await asyncio.Event().wait()


def note(path: str, line: str) -> None:
    """Add a line to a file in one write: what a step has done to the world."""
    with open(path, "a") as file:  # noqa: PTH123 - as short as an effect can be
        file.write(f"{line}\n")


@dataclass
class Work:
    """An answer whose workers are killed at their moments; the last one lives on."""

    name: str
    moments: list[Moment]
    about: tuple[object, ...] = ()  # more for the workers
    body: bytearray = field(default_factory=bytearray)  # what its reader has

    async def play(self, runs: Runs, url: str, folder: Path, module: str) -> None:
        """Let the workers of a module answer, one after the other, and read along to the end."""
        own = folder / self.name
        own.mkdir()
        effects = own / "effects.txt"
        effects.touch()
        reading = asyncio.create_task(self._read(runs))  # once the first worker has started
        for moment in self.moments:
            args = (url, self.name, str(own), moment, *self.about)
            worker = _FORKS.Process(target=_work, args=(module, args), daemon=True)
            worker.start()
            if moment.where == "amid":
                is_begun = f"{moment.step}-begun\n"
                await until(lambda: is_begun in effects.read_text(), within_s=PATIENCE_S)  # noqa: B023
                await until(lambda: moment.shown.encode() in self.body, within_s=PATIENCE_S)  # noqa: B023
                worker.kill()
            is_killed = moment is not self.moments[-1]
            assert await _ended(worker) == (-signal.SIGKILL if is_killed else 0)
        with contextlib.suppress(SourceFailed):
            await asyncio.wait_for(reading, PATIENCE_S)

    async def _read(self, runs: Runs) -> None:
        answer = await runs.follow(self.name, wait=PATIENCE_S)
        assert answer is not None
        async for piece in answer.body:
            self.body += piece

    def effects(self, folder: Path) -> list[str]:
        """Return which steps were done in the world."""
        lines = (folder / self.name / "effects.txt").read_text().split()
        return [line for line in lines if not line.endswith("-begun")]


def _work(module: str, args: tuple[Any, ...]) -> None:
    asyncio.run(importlib.import_module(f"{__package__}.{module}").work(*args))


async def _ended(process: ForkServerProcess) -> int | None:
    """Wait for the end of a process, and return its exit code."""
    await until(lambda: process.exitcode is not None, within_s=PATIENCE_S)
    return process.exitcode
