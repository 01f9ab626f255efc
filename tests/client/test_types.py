"""The library's types as an application sees them, by the checkers that applications use.

With its errors, of which some are beside what it offers to frameworks.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import get_args

import headgate
import pyright
import pytest
from headgate.runs.formats import FORMATS, FormatName

PYRIGHT = Path(pyright.__file__).with_name("dist") / "index.js"
FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]
# Parts of programs, modules of the application, and handlers of signals, which may be numbers.
NOT_OF_THE_LIBRARY = {
    *("reportUndefinedVariable", "reportMissingImports", "reportOptionalCall"),
}


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


@pytest.mark.usefixtures("processes")
def test_pyright_finds_no_mistake_in_the_programs_of_the_pages(tmp_path: Path) -> None:
    for page in (*(ROOT / "docs/client").glob("*.md"), ROOT / "client/README.md"):
        programs = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        for number, program in enumerate(programs):
            text = program
            try:
                compile(program, page.name, "exec")
            except SyntaxError:  # it awaits at its top
                text = f"async def program():\n{textwrap.indent(program, '    ')}"
            (tmp_path / f"{page.stem}_{number}.py").write_text(text)
    config = {"typeCheckingMode": "standard", "pythonVersion": "3.11", "include": ["."]}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config))
    node = Path(sys.executable).with_name("node")
    done = subprocess.run(
        [node, PYRIGHT, "--project", tmp_path, "--pythonpath", sys.executable, "--outputjson"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = [
        (Path(each["file"]).name, each["message"])
        for each in json.loads(done.stdout)["generalDiagnostics"]
        if each.get("rule") not in NOT_OF_THE_LIBRARY and "is not callable" not in each["message"]
    ]
    assert found == []


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
