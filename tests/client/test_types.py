"""The library's types as an application sees them, by the checkers that applications use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pyright
import pytest
from headgate import FormatName
from headgate.runs.formats import FORMATS

from tests.support.processes import ROOT

PYRIGHT = Path(pyright.__file__).with_name("dist") / "index.js"


@pytest.mark.usefixtures("processes")
def test_pyright_reports_only_the_marked_mistakes_of_the_typed_application() -> None:
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node, PYRIGHT, "--project", ROOT, "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    found = json.loads(done.stdout)
    assert found["generalDiagnostics"] == []
    assert found["summary"]["filesAnalyzed"] == 1


def test_the_format_type_lists_every_run_format() -> None:
    assert get_args(FormatName) == tuple(FORMATS)
