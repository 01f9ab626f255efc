"""The measurement of resumable streams plays its load on this library and on npm's."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.support.processes import ROOT

SHORT = ("--streams", "3", "--seconds", "0.1", "--interval", "0.005", "--idle", "0")


@pytest.mark.usefixtures("processes")
def test_the_memory_measurement_plays_one_load_on_this_library_and_on_resumable_stream() -> None:
    command = [sys.executable, "-m", "benchmarks.resumable", *SHORT]
    printed = subprocess.check_output(command, cwd=ROOT, text=True, timeout=60)
    rows = {row[0]: row[1:] for row in re.findall(r"^\| (.*) \| (.*) \| (.*) \|$", printed, re.M)}
    assert rows["streams"] == ("3", "3")
    assert rows["errors"] == rows["… and never ended"] == ("0", "0")
    assert rows["… and read to the end"] == rows["readers that came back"]
    assert all(int(cell) > 20 for cell in rows["at the peak"])
