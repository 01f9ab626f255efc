"""The library's types as an application sees them, by the checkers that applications use."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pyright
from headgate import FormatName
from headgate.runs.formats import FORMATS

from tests.support.processes import ROOT

PYRIGHT = Path(pyright.__file__).with_name("dist") / "index.js"


def test_pyright_finds_in_an_application_only_the_mistakes_that_are_in_it() -> None:
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


def test_each_format_is_a_name_that_type_checkers_know() -> None:
    assert get_args(FormatName) == tuple(FORMATS)
