"""The library's types as an application sees them, by the checkers that applications use.

With its errors, of which some are beside what it offers to frameworks.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pyright
import pytest

import headgate
from headgate.runs.formats import FORMATS, FormatName
from tests.client.printed_programs import ROOT, programs

PYRIGHT = Path(pyright.__file__).with_name("dist") / "index.js"
FOLDER = Path(__file__).parent
# With the project's cache, and without its warning of what makes a function a generator.
MYPY = [str(Path(sys.executable).with_name("mypy")), "--no-warn-unreachable", "--no-error-summary"]
# What a line has in it that no checker can see the type of, and why.
UNTYPED = {
    "from celery import": "Celery is published without types",
    "@queue.task": "Celery is published without types",
    "apply_async": "Celery is published without types",
    "queue.control.": "Celery is published without types",
    "Redis.from_url": "redis has no types of its options",
    "queue.enqueue": "RQ has no types of a job's arguments",
    "otherwise each job would import it": "RQ reads its settings from any module",
    "MIDDLEWARE +=": "Django makes the beginning of this file",
}


@pytest.mark.timeout(180)  # two checkers, on a machine that does other things
@pytest.mark.usefixtures("processes")
def test_strict_checkers_find_no_mistake_in_what_the_pages_print(tmp_path: Path) -> None:
    """Neither do they in the typed application, but for its marked mistakes."""
    shutil.copy(FOLDER / "pyrightconfig.json", tmp_path)
    texts = {"typed_application": (FOLDER / "typed_application.py").read_text(), **programs()}
    for name, text in texts.items():
        (tmp_path / f"{name}.py").write_text(text)
    mypy = subprocess.Popen([*MYPY, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    node = Path(sys.executable).with_name("node")
    pyright = subprocess.run(
        [node, PYRIGHT, "--project", tmp_path, "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = [
        (Path(each["file"]).stem, each["range"]["start"]["line"], each["message"])
        for each in json.loads(pyright.stdout)["generalDiagnostics"]
    ]
    for said in re.finditer(
        r"^.*?(\w+)\.py:(\d+): error: (.*)", mypy.communicate(timeout=120)[0], re.MULTILINE
    ):
        found.append((said[1], int(said[2]) - 1, said[3]))
    lines = [(texts[name].splitlines()[line], message) for name, line, message in found]
    assert [each for each in lines if not any(it in each[0] for it in UNTYPED)] == []
    assert [it for it in UNTYPED if not any(it in line for line, _ in lines)] == []


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
