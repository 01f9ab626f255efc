"""A few runs of the simulation; `python -m tests.edge.simulation` makes as many as one likes."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SEEDS = 1  # `make torture` takes 5,000


@pytest.mark.timeout(300)
def test_viewers_get_correct_data_in_simulated_runs_of_a_faulty_origin() -> None:
    """In a process of its own: the order of sets is part of what a seed means."""
    command = [sys.executable, "-m", "tests.edge.simulation", "--seeds", str(SEEDS)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.startswith(f"{SEEDS} seeds, ")
