"""Runs in threads of processes that are forked, and of processes that come to their end."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest
from headgate import RunState, sync

from tests.support.processes import AT_ONCE

OURS = {**os.environ, **AT_ONCE}


def ran(name: str, url: str, *by: str) -> str:
    """Run one of the programs, and return what it has printed."""
    module = ("-m", *by, "tests.client.sync.processes")
    command = [sys.executable, "-W", "error", *module, name, url]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=40, check=False, env=OURS
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.mark.usefixtures("processes")
def test_forked_children_use_runs_of_their_own_and_leave_the_run_of_their_parent(url: str) -> None:
    assert ran("forked under way", url) == "RunState(status='finished', error=None)\n"


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("program", "log", "state"),
    [
        pytest.param("ends soon", "None\n", RunState("finished"), id="a-source-that-ends-soon"),
        pytest.param(
            "never ends",
            "run 'a': its source does not end when it is cancelled\n",
            RunState("failed", "the application was shut down"),
            id="a-source-that-never-ends",
        ),
    ],
)
def test_a_program_that_exits_ends_its_active_run(
    url: str, program: str, log: str, state: RunState
) -> None:
    assert re.fullmatch(log, ran(program, url))
    with sync.Runs(url) as runs:
        assert runs.state("a") == state


@pytest.mark.usefixtures("processes")
def test_sync_runs_work_in_greenlets_of_gevent(url: str) -> None:
    assert ran("many at once", url, "gevent.monkey", "--module") == "['finished']\n"
