"""A process with a load, as `load.py` is one, and its memory as `top` shows it."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = (sys.executable, "-m", "tests.client.resumable.load")
LOOK_EVERY_S = 0.2


class LoadedProcess:
    """A process that waits for a line before it plays its load."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.start_mb = self.peak_mb = 0.0

    def resident_mb(self) -> float:
        """Return what `top` shows as RES, in MB."""
        pages = int(Path(f"/proc/{self._process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE") / 1e6

    def line(self) -> str:
        """Return the next line that it prints. Raises RuntimeError if it has ended."""
        assert self._process.stdout is not None
        if not (line := self._process.stdout.readline()):
            raise RuntimeError(f"the load ended with {self._process.wait()}")
        return line.strip()

    def go_on(self) -> None:
        """Let it begin the next part."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()

    def run(self) -> dict[str, int]:
        """Play the load, and return what it counted."""
        self.start_mb = self.peak_mb = self.resident_mb()
        over = threading.Event()
        looking = threading.Thread(target=self._look, args=(over,))
        looking.start()
        try:
            self.go_on()
            counts: dict[str, int] = json.loads(self.line())
        finally:
            over.set()
            looking.join()
        return counts

    def _look(self, over: threading.Event) -> None:
        while not over.wait(LOOK_EVERY_S):
            self.peak_mb = max(self.peak_mb, self.resident_mb())


@contextlib.contextmanager
def loaded(
    command: tuple[str, ...], url: str, streams: int, *times: float
) -> Iterator[LoadedProcess]:
    """Start a load, which waits until it is to begin."""
    pipe = subprocess.PIPE
    words = [*command, url, str(streams), *map(str, times)]
    with subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT) as process:
        try:
            load = LoadedProcess(process)
            assert load.line() == "ready"
            yield load
        finally:
            process.kill()
