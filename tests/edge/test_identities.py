"""Nothing of one reader is in what another one gets, nor a token where it can be found."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.examples import IS_WHOLE
from tests.support.processes import ROOT

READS = 6000 if IS_WHOLE else 2000  # `make soak` has 1,000,000
# So long that tokens expire and are revoked while so few are made.
PAUSES_S = 7200 / READS


@pytest.mark.timeout(600)
def test_responses_to_one_reader_have_nothing_of_another_in_a_simulation() -> None:
    """In a process of its own, as other simulations: its virtual loop ends amid connections."""
    command = [sys.executable, "-m", "tests.edge", "identities", "--reads", str(READS)]
    command += ["--pauses", str(PAUSES_S)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert int(run.stdout.partition(" ")[0]) >= READS
    assert " 0 violations\n" in run.stdout
