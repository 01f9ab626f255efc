"""The library's types as an application sees them, by the checkers that applications use.

With its errors, of which some are beside what it offers to frameworks.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import headgate
import pyright
import pytest
from headgate.runs.formats import FORMATS
from headgate.runs.formats.contract import FormatName

PYRIGHT = Path(pyright.__file__).with_name("dist") / "index.js"
FOLDER = Path(__file__).parent


@pytest.mark.usefixtures("processes")
def test_pyright_reports_only_the_marked_mistakes_of_the_typed_application() -> None:
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node, PYRIGHT, "--project", FOLDER, "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        timeout=50,
    )
    found = json.loads(done.stdout)
    assert found["generalDiagnostics"] == []
    assert found["summary"]["filesAnalyzed"] == 1


def test_the_format_type_lists_every_run_format() -> None:
    assert get_args(FormatName) == tuple(FORMATS)


def test_every_error_of_the_library_can_be_imported_from_its_top() -> None:
    for module in pkgutil.walk_packages(headgate.__path__, "headgate."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    kinds = [headgate.StreamError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    own = {kind.__name__ for kind in kinds if kind.__module__.startswith("headgate")}
    assert {"TooLarge", "SourceFailed"} <= own <= set(headgate.__all__)
