"""What a test needs decides which command plays it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.support.imports import ROOT, lacking, modules_of_tests

SCENE = """
import subprocess, sys
from pathlib import Path
import pytest

START = [sys.executable, "-c", ""]

@pytest.fixture
def processes(): pass

def test_without_a_process(): pass
def test_that_asks(processes): subprocess.run(START, check=True)
def test_that_does_not_ask(): subprocess.run(START, check=True)

@pytest.mark.smoke
def test_smoke(processes): subprocess.run(START, check=True)

@pytest.mark.smoke
def test_smoke_of_a_program_of_the_system(processes): subprocess.run(["true"], check=True)

def test_that_skips_itself(): pytest.skip("today")

def test_that_fails_once():
    before = Path("before")
    is_first = not before.exists()
    before.touch()
    assert not is_first
"""
REFUSED = ("that_does_not_ask", "smoke_of_a_program_of_the_system", "that_skips_itself")
COMMANDS = {"test": "`make test`", "rest": "`make test-all`"}
BEGIN = "tiers of files"
# Prints which tiers each file has tests of, and which files their commands are to leave out.
# Tests that only `make torture` plays have no tier.
LIST = f"""
import json, pytest

class Listing:
    found, left = set(), {{}}

    @pytest.hookimpl(trylast=True)
    def pytest_configure(self, config):
        from tests.support.asked import asking  # what a plugin imports, pytest has to import first
        from tests.support.imports import modules_of_tests
        from tests.tiers import FIXTURE, IGNORED, SMOKE
        self.left["rest"] = [*map(str, config.stash[IGNORED])]
        self.left["test"] = [*map(str, asking(modules_of_tests(), FIXTURE, unless=SMOKE))]
        config.stash[IGNORED] = set()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, config, items):
        from tests.tiers import tier_of
        for item in items:
            if item.get_closest_marker("torture") is None:
                self.found.add((tier_of(item), item.nodeid.partition("::")[0]))

pytest.main(["--collect-only", "-qqq", "--tier", "rest"], plugins=[Listing()])
print("{BEGIN}", json.dumps([[*Listing.found], Listing.left]), sep="\\n")
"""


def play(folder: Path, *options: str) -> str:
    """Return what pytest prints of the tests in a folder."""
    command = [sys.executable, "-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options]
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, "--rootdir", str(folder), str(folder)],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        timeout=50,
    )
    return done.stdout.decode()


@pytest.mark.usefixtures("processes")
def test_a_test_is_played_by_what_it_needs_and_may_not_do_otherwise(tmp_path: Path) -> None:
    (tmp_path / "test_scene.py").write_text(SCENE)
    told = play(tmp_path, "--tier", "test")
    failed = re.findall(r"^FAILED test_scene.py::test_(\w+)", told, re.MULTILINE)
    assert sorted(failed) == sorted([*REFUSED, "that_fails_once"])
    last = told.rstrip().splitlines()[-1]
    assert last.startswith("2 passed, 4 failed; 1 tests and ")
    assert last.endswith(" modules more are played by: make test-all")

    again = play(tmp_path, "--tier", "test", "--last-failed", "--flaky")
    flaky = again.partition("FLAKY")[2]
    assert [name for name in failed if f"test_{name}\n" in flaky.split("short test")[0]] == [
        "that_fails_once"
    ]
    assert again.rstrip().splitlines()[-1].startswith("1 flaky, 3 failed")
    assert "1 passed" in play(tmp_path, "--tier", "rest")


@pytest.mark.usefixtures("processes")
def test_more_failures_than_a_busy_machine_has_are_not_played_again(tmp_path: Path) -> None:
    file = tmp_path / "test_scene.py"
    file.write_text("import pytest\n@pytest.mark.parametrize('n', range(21))\ndef test_x(n): 1 / 0")
    assert "21 failed" in play(tmp_path, "--tier", "test")
    told = play(tmp_path, "--tier", "test", "--last-failed", "--flaky")
    assert "21 failed, and over 20 are no matter of chance" in told
    told = play(tmp_path, "nowhere::test_x", "--tier", "test", "-n", "2")
    assert "file or directory not found: nowhere::test_x" in told


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("workers", [0, 2])
def test_an_error_of_collection_is_told_once_by_its_module_and_nothing_is_played(
    tmp_path: Path, workers: int
) -> None:
    (tmp_path / "test_whole.py").write_text("def test_x(): pass\ndef test_y(): 1 / 0")
    (tmp_path / "test_broken.py").write_text("import json\njson.loads('')")
    told = play(tmp_path, "--tier", "test", "-n", str(workers))
    assert told.count("ERROR collecting test_broken.py") == 1
    assert told.count("E   json.decoder.JSONDecodeError: ") == 1
    assert re.findall(r"^(?:ERROR|FAILED) \S+", told, re.MULTILINE) == ["ERROR test_broken.py"]
    assert "Interrupted: 1 error during collection" in told
    assert told.rstrip().splitlines()[-1].startswith("1 error; ")


def test_a_module_lacks_what_it_and_its_helpers_import_beyond_the_lock(tmp_path: Path) -> None:
    lock, module = tmp_path / "lock.txt", tmp_path / "test_x.py"
    lock.write_text("pytest==1 \\\nredis==2 \\\n")
    module.write_text(
        "import json, pytest\nfrom typing import TYPE_CHECKING\nfrom tests.support import http1\n"
        "from tests.support import redis_servers\n"
        "if TYPE_CHECKING:\n    import flask\ndef test_x():\n    import httpx\n"
    )
    assert lacking([module], lock)[module] >= {"httpx"}
    assert not lacking([module], lock)[module] & {
        "json",
        "pytest",
        "redis",
        "flask",
        "headgate_gateway",
    }


def test_what_a_folder_shares_is_imported_with_the_packages_of_make_test() -> None:
    """With `ARGS=tests/docker`, pytest imports it before it leaves out modules."""
    assert [path for path in lacking(modules_of_tests()) if path.name == "conftest.py"] == []


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(600)  # to collect everything takes half a minute of a core
def test_sources_and_the_page_of_promises_tell_which_command_plays_a_test() -> None:
    listed = subprocess.run(
        [sys.executable, "-c", LIST],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        timeout=580,
    ).stdout.decode()
    found, left = json.loads(listed.partition(f"{BEGIN}\n")[2])
    played: dict[str, set[str]] = defaultdict(set)
    for tier, path in found:
        for folder in (path, *map(str, Path(path).parents)):
            played[folder].add(COMMANDS[tier])
    assert len(played) > len(COMMANDS)
    for tier, command in COMMANDS.items():
        files = [str(Path(one).relative_to(ROOT)) for one in left[tier]]
        assert files
        assert [file for file in files if command in played[file]] == []
    wrong = []
    for promise, tests, command in rows():
        files = paths(tests)
        commands = set().union(*(played[file] for file in files))
        if files and command != " and ".join(sorted(commands, key=len)):
            wrong.append((promise, files, commands))
    assert not wrong


def rows() -> list[list[str]]:
    """Return the promises of the page, with their tests and what plays them."""
    lines = (ROOT / "docs" / "promises.md").read_text().splitlines()
    return [line.strip("| ").split(" | ") for line in lines if line.startswith("| ")][2:]


def paths(cell: str) -> list[str]:
    """Return the test files and folders that a cell names; a bare name is beside the last one."""
    found: list[str] = []
    folder = Path("tests")
    for name in re.findall(r"`([\w/]+(?:\.py)?)`", cell):
        if name.startswith("tests/"):
            path = Path(name)
        elif name.startswith("test_"):
            path = folder / name
        else:
            continue
        folder = path.parent if path.suffix else path
        found.append(str(path))
    return [path for path in found if (ROOT / path).exists() and Path(path).name != "contract.py"]
