"""The load tools: compiled, run on their own core, and believed only when they end well."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.machine import TOOL_CORE, cpu_seconds, program
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

HERE = Path(__file__).parent
BINARIES = HERE / "bin"
TOOLS = ("load", "fanout", "longpoll", "walk")
FLAGS = ("-O2", "-std=gnu17", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'tests' / 'support'}")
IDLE_SHARE = 0.02
SETTLE_TIMEOUT_S = 60.0

Figures = dict[str, float]


class ToolFailed(Exception):
    """A server answered wrongly or not at all, in the load tool's words."""


def build() -> None:
    """Compile the tools."""
    BINARIES.mkdir(exist_ok=True)
    for tool in TOOLS:
        # Moved into place whole: somebody else may be building, or running, the same tool.
        new = BINARIES / f"{tool}.{os.getpid()}"
        source = str(HERE / f"{tool}.c")
        subprocess.run([program("cc"), *FLAGS, "-o", str(new), source], check=True)
        new.replace(BINARIES / tool)


def run(tool: str, *arguments: object) -> Figures:
    """Run a tool that waits for nobody, and return what it prints."""
    with _started(tool, *arguments) as child:
        return _figures(tool, child)


@contextlib.contextmanager
def held(tool: str, *arguments: object) -> Iterator[Held]:
    """Start a tool, and yield it once all its readers wait."""
    with _started(tool, *arguments) as child:
        assert child.stdout is not None
        if child.stdout.readline() != "ready\n":
            _figures(tool, child)
        yield Held(tool, child)


class Held:
    """Waiting readers, until they are let go."""

    def __init__(self, tool: str, child: subprocess.Popen[str]) -> None:
        self._tool = tool
        self._child = child

    def release(self) -> Figures:
        """Post the events, and what came of it."""
        return _figures(self._tool, self._child, "go\n")


def settle(pid: int) -> None:
    """Wait until a server has nothing left to do."""
    deadline = time.monotonic() + SETTLE_TIMEOUT_S
    spent, share = cpu_seconds(pid), 1.0
    while share > IDLE_SHARE:
        if time.monotonic() > deadline:
            raise ToolFailed(f"process {pid} still uses {share:.0%} of its core while all wait")
        time.sleep(0.25)
        before, spent = spent, cpu_seconds(pid)
        share = (spent - before) / 0.25


@contextlib.contextmanager
def _started(tool: str, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    child = subprocess.Popen(
        ["taskset", "--cpu-list", str(TOOL_CORE), str(BINARIES / tool), *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with child:
        try:
            yield child
        finally:
            child.kill()


def _figures(tool: str, child: subprocess.Popen[str], order: str = "") -> Figures:
    output, complaint = child.communicate(order)
    if child.returncode:
        raise ToolFailed(f"{tool}: {complaint.strip()}")
    figures: Mapping[str, float] = json.loads(output)
    return dict(figures)
