"""The programs of the pages for threads that need no server of a framework."""

from __future__ import annotations

import os
import queue
import re
import subprocess
import sys
from typing import Any

import pytest

from headgate import RunState, sync
from tests.client.printed_urls import with_url
from tests.client.sync.feeds import read, read_to
from tests.support.processes import AT_ONCE, ROOT

PAGE = (ROOT / "docs/client/sync.md").read_text()
CLIENT, FIRST, WATCHING, WRITING = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("program", "printed", "printed_again"),
    [
        pytest.param(
            CLIENT,
            "{'id': 1} 0000000000000000_0000000000000008",
            "{'id': 1} 0000000000000000_0000000000000016",
            id="client",
        ),
        pytest.param(WRITING, "Once upon a time", "Once upon a time", id="writer"),
        pytest.param(FIRST, "You asked: why? finished", "You asked: why? finished", id="runs"),
    ],
)
def test_a_documented_sync_program_reads_what_it_wrote_each_time_that_it_is_run(
    program: str, printed: str, printed_again: str, url: str
) -> None:
    program = with_url(program, url)
    command = [sys.executable, "-W", "error", "-c", program]
    environment = {**os.environ, **AT_ONCE}
    done = [
        subprocess.run(command, capture_output=True, text=True, timeout=30, env=environment)
        for _ in range(2)
    ]
    assert [it.stderr for it in done] == ["", ""]
    assert done[0].stdout == f"{printed}\n"
    assert done[1].stdout.splitlines()[-1] == printed_again


def test_the_documented_sync_source_ends_when_its_run_is_stopped(runs: sync.Runs) -> None:
    jobs: queue.Queue[str] = queue.Queue()
    jobs.put("Once ")
    names: dict[str, Any] = {"runs": runs, "queue": queue}
    exec(WATCHING, names)
    read_to(runs.start("a", names["produce"]("a", jobs)), b"Once ")
    assert runs.stop("a")
    assert read(runs.follow("a")) == b"Once "
    assert runs.state("a") == RunState("stopped")
