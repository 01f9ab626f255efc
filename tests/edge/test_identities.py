"""Nothing of one reader is in what another one gets, nor a token where it can be found."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.support.examples import IS_WHOLE
from tests.support.processes import ROOT

READS = 6000 if IS_WHOLE else 2000  # `make soak` has 1,000,000
# So long that tokens expire and are revoked while so few are made.
PAUSES_S = 7200 / READS
# In a process of its own, as other simulations: its virtual loop ends amid connections.
PLAY = """
import json, sys
from tests.edge.identities.campaign import mixed_reads

count = mixed_reads(int(sys.argv[1]), people=50, pauses_s=float(sys.argv[2]))
print(json.dumps([count.reads, count.wrong, count.missing]))
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(600)
def test_responses_to_one_reader_have_nothing_of_another_in_a_simulation() -> None:
    command = [sys.executable, "-c", PLAY, str(READS), str(PAUSES_S)]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    reads, wrong, missing = json.loads(run.stdout)
    assert reads >= READS
    assert (wrong, missing) == ([], [])
