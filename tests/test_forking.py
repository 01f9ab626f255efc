"""Tests on several workers: each is run once, by itself, and told as if there were no others."""

from __future__ import annotations

import os
import re
import signal
from collections import Counter
from typing import TYPE_CHECKING

from tests.test_rerun import project, start

if TYPE_CHECKING:
    from pathlib import Path

RECORDED = ("-m", "tests.recorder", os.devnull)
MANY = """
    import os, sys
    from pathlib import Path

    import pytest

    NOTES = Path("notes")

    @pytest.fixture(scope="module")
    def kept():
        yield
        with NOTES.open("a") as notes:
            print("ended", os.getpid(), file=notes)

    @pytest.mark.parametrize("number", range(40))
    def test_many(number, kept, tmp_path):
        print(f"said by {number}")
        os.write(1, f"written by {number}\\n".encode())
        with NOTES.open("a") as notes:
            print("test", number, os.getpid(), tmp_path.parent.name, file=notes)
        if number == 3:
            os._exit(9)
        assert number not in {7, 33}, "unlucky"
"""
HANGING = """
    import os, sys, time
    from pathlib import Path

    import pytest

    @pytest.fixture
    def slow_to_end():
        yield
        time.sleep(0.2)
        Path(f"ended-{os.getpid()}").touch()

    @pytest.mark.parametrize("number", range(2))
    def test_hangs(slow_to_end, number, capfd):
        Path(f"began-{number}").touch()
        while not Path(f"began-{1 - number}").exists():
            time.sleep(0.01)
        if number:
            with capfd.disabled():
                print("hangs", flush=True)
        time.sleep(60)
"""


def test_each_test_is_run_once_although_a_pytest_worker_dies(tmp_path: Path) -> None:
    project(tmp_path, {"many": MANY})
    with start(tmp_path, "-n", "3", "-p", "no:randomly", program=RECORDED) as process:
        told, _ = process.communicate(timeout=50)
    assert process.returncode == 1
    assert re.search("3 failed, 37 passed in ", told), told
    lines = [line.split() for line in (tmp_path / "notes").read_text().splitlines()]
    run = Counter(int(words[1]) for words in lines if words[0] == "test")
    assert run == Counter(range(40))
    # Of each that did not die, and a folder for each.
    of_workers = {words[2]: words[3] for words in lines if words[0] == "test"}
    assert len(of_workers) == len(set(of_workers.values())) == 4
    assert sum(words[0] == "ended" for words in lines) == 3
    assert "ended with status 9 while it ran 'test_many.py::test_many[3]'" in told
    for number in (7, 33):
        shown = told.split(f"test_many[{number}] ___")[1].split("Captured stdout call")[1]
        assert set(shown.splitlines()[1:3]) == {f"said by {number}", f"written by {number}"}


def test_ctrl_c_ends_all_pytest_workers_and_the_processes_of_their_tests(tmp_path: Path) -> None:
    project(tmp_path, {"hanging": HANGING})
    with start(tmp_path, "-n", "2", program=RECORDED) as process:
        assert process.stdout is not None
        while "hangs" not in process.stdout.readline():
            pass
        os.killpg(process.pid, signal.SIGINT)
        told = process.stdout.read()
    assert process.returncode == 2, told
    assert "KeyboardInterrupt" in told
    assert len([*tmp_path.glob("ended-*")]) == 2
