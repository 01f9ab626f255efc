"""The fixture and the test on the page about testing work as they are printed."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import ROOT

if TYPE_CHECKING:
    from pathlib import Path

AGAIN = """

app = make_app(SHARED)


@pytest.mark.parametrize("turn", [1, 2])
def test_an_application_in_a_module_opens_for_each_client(turn):
    with TestClient(app) as client:
        assert client.post("/ask?question=why").text == "You asked: why"
"""


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # it imports everything in a process of its own
def test_the_fixture_on_the_page_about_testing_serves_its_test(tmp_path: Path) -> None:
    page = (ROOT / "docs/client/testing.md").read_text()
    conftest, application = re.findall(r"```python\n(.*?)```", page, re.S)
    shared = "from gateway.process.in_thread import serving\nSERVING = serving()\n"
    shared += 'SHARED = f"http://{SERVING.__enter__().listen}/v1/stream"\nimport uuid, pytest\n'
    (tmp_path / "conftest.py").write_text(conftest)
    (tmp_path / "test_app.py").write_text(shared + application + AGAIN)
    played = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "3 passed" in played.stdout, played.stdout + played.stderr
