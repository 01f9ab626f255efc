"""A run of the simulation; `python -m campaigns.edge_simulation` makes as many as one likes."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

# In a process of its own: the order of sets is part of what a seed means.
PLAY = """
import json, sys
from headgate_gateway.telemetry.logs import configure
from tests.edge.simulation.world import simulate

configure("error", "console")
judge = simulate(int(sys.argv[1]))
print(json.dumps([judge.answers, judge.wrong]))
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", [0, 27])  # in the second, polls end while the tail is not known
def test_viewers_get_correct_data_in_a_simulated_run_of_a_faulty_origin(seed: int) -> None:
    run = subprocess.run(
        [sys.executable, "-c", PLAY, str(seed)],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    answers, wrong = json.loads(run.stdout)
    assert answers > 0
    assert wrong == []
