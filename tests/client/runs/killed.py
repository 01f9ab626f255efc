"""Processes that work on runs, each forked off one that has imported what they need, and killed.

What they import takes seconds, so it is imported once, and by no process of pytest.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
import os
import signal
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess

PATIENCE_S = 90.0
_one_at_a_time = Lock()  # a start looks whether other processes have ended, and takes their codes
PRELOADED = ("graph_worker", "temporal_worker")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([f"{__package__}.{name}" for name in PRELOADED])


@dataclass(frozen=True)
class Moment:
    """When a process dies: at a step, and where in it. None lives on."""

    step: str = ""
    where: str = ""

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


def _run(module: str, function: str, args: tuple[Any, ...]) -> None:
    asyncio.run(getattr(importlib.import_module(module), function)(*args))


async def forked(module: str, function: str, *args: object) -> ForkServerProcess:
    """Run a coroutine function of a module of this package in a process of its own.

    The first start waits for what processes import: so long no reader may be kept waiting.
    """
    process = _FORKS.Process(
        target=_run, args=(f"{__package__}.{module}", function, args), daemon=True
    )

    def start() -> None:
        with _one_at_a_time:
            process.start()

    await asyncio.to_thread(start)
    return process


async def nothing() -> None:
    """Do nothing: once this process has ended, others start at once."""


async def ended(process: ForkServerProcess) -> int:
    """Wait for the end of a process, and return its exit code."""
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    loop.add_reader(process.sentinel, over.set)
    try:
        await asyncio.wait_for(over.wait(), PATIENCE_S)
    finally:
        loop.remove_reader(process.sentinel)
    with _one_at_a_time:
        process.join()
    assert process.exitcode is not None
    return process.exitcode
