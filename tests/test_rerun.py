"""What the second run of failed tests tells, and what it leaves red."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pytest

from tests import rerun
from tests.outcomes import Failure, Outcomes
from tests.support.examples import cases
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    Runner = Callable[..., subprocess.CompletedProcess[str]]

FLAKY = """
    from pathlib import Path

    def test_second_try():
        marker = Path("tried")
        was_there = marker.exists()
        marker.touch()
        print("as a server would")
        assert was_there, "first try"
"""
CRASH = """
    import os

    def test_crash():
        os._exit(3)
"""
BROKEN = "import nothing_of_this_name\n"
RED = "def test_red(): assert 1 == 2\n"
GREEN = "def test_green(): pass\n"
TEARDOWN = """
    import pytest

    @pytest.fixture
    def sore():
        yield
        raise ValueError("sore")

    def test_sore(sore): pass
"""
# Without looking for plugins, and those of which it has no need, each run of it costs a third.
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
WITH_ORDER = "[pytest]\naddopts = -p randomly\n"


def project(folder: Path, modules: dict[str, str]) -> None:
    """A folder of tests that has nothing to do with ours."""
    (folder / "pytest.ini").write_text(WITH_ORDER)
    for name, text in modules.items():
        (folder / f"test_{name}.py").write_text(textwrap.dedent(text))


def start(
    folder: Path, *arguments: str, program: Sequence[str] = ("-m", "tests.rerun")
) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=folder,
        env={**os.environ, **ALONE, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    )


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """Runs these modules."""

    def run(*arguments: str, **modules: str) -> subprocess.CompletedProcess[str]:
        project(tmp_path, modules)
        with start(tmp_path, *arguments) as process:
            output, _ = process.communicate(timeout=50)
        return subprocess.CompletedProcess(process.args, process.returncode, output)

    return run


def closing(done: subprocess.CompletedProcess[str]) -> str:
    return done.stdout.rstrip().splitlines()[-1].strip("= ")


def test_a_test_run_without_failures_is_one_run_and_exits_with_0(runner: Runner) -> None:
    done = runner(green=GREEN)
    assert done.returncode == 0
    assert re.fullmatch(r"1 passed in [\d.]+s", closing(done)), done.stdout
    assert "FLAKY" not in done.stdout


@pytest.mark.parametrize("workers", cases(["0", "1"], {"1"}, "a worker"))
def test_a_test_that_passes_when_run_again_is_listed_last_as_flaky(
    runner: Runner, workers: str, tmp_path: Path
) -> None:
    done = runner("-n", workers, flaky=FLAKY, green=GREEN)
    assert done.returncode == 0, done.stdout
    *_, told, line, summary = done.stdout.rstrip().splitlines()
    assert told == "test_flaky.py::test_second_try"
    found = re.fullmatch(r" {4}--randomly-seed=(\d+), first log: (\S+)", line)
    assert found is not None, line
    assert done.stdout.count(f"--randomly-seed={found[1]}\n") == 2  # of both runs, as pytest tells
    log = (tmp_path / found[2]).read_text()
    assert "first try" in log
    assert "as a server would" in log
    assert summary.strip("= ") == "2 passed, 1 flaky"


def test_a_test_that_fails_twice_makes_the_run_red_beside_flaky_tests(runner: Runner) -> None:
    done = runner(flaky=FLAKY, red=RED, green=GREEN, teardown=TEARDOWN)
    assert done.returncode == 1
    twice, flaky = done.stdout.split("FAILED TWICE")[1].split("FLAKY")
    assert {"test_red.py::test_red", "test_teardown.py::test_sore"} <= set(twice.splitlines())
    assert "test_flaky.py::test_second_try" in flaky.splitlines()
    assert closing(done) == "2 passed, 2 failed, 1 flaky"


def test_options_select_the_tests_of_the_first_run_only(runner: Runner) -> None:
    done = runner("-k", "second", "-p", "no:randomly", flaky=FLAKY, red=RED)
    assert done.returncode == 0, done.stdout
    assert "    -p no:randomly, first log: " in done.stdout
    assert closing(done) == "1 passed, 1 flaky"


@pytest.mark.parametrize(
    ("arguments", "modules", "status"),
    [
        pytest.param(
            (), {"broken": BROKEN, "green": GREEN}, 2, id="a-file-that-cannot-be-collected"
        ),
        pytest.param(("-n", "1"), {"crash": CRASH, "flaky": FLAKY}, 1, id="a-worker-that-crashes"),
        pytest.param(
            ("-x", "-n", "1"), {"flaky": FLAKY, "green": GREEN}, {1, 2}, id="cut-short-on-a-worker"
        ),
        pytest.param(("-k", "none"), {"green": GREEN}, 5, id="no-test"),
        *(
            pytest.param(*case, marks=pytest.mark.torture("one of its kind above"), id=name)
            for name, case in {
                "a-file-that-a-worker-cannot-collect": (
                    ("-n", "1"),
                    {"broken": BROKEN, "flaky": FLAKY},
                    {1, 2},
                ),
                "a-file-that-cannot-be-collected-beside-others": (
                    ("--continue-on-collection-errors",),
                    {"broken": BROKEN, "flaky": FLAKY},
                    1,
                ),
                "cut-short": (
                    ("-x", "-p", "no:randomly"),
                    {"flaky": FLAKY, "green": GREEN},
                    {1, 2},
                ),
                "an-unknown-option": (("--no-such-option",), {"green": GREEN}, 4),
                "an-absent-file": (("none.py",), {"green": GREEN}, 4),
            }.items()
        ),
    ],
)
def test_a_run_with_errors_other_than_failed_tests_is_red_and_not_run_again(
    runner: Runner,
    arguments: tuple[str, ...],
    modules: dict[str, str],
    status: int | set[int],
) -> None:
    done = runner(*arguments, **modules)
    assert done.returncode in (status if isinstance(status, set) else {status}), done.stdout
    assert "What failed, alone" not in done.stdout


def failed(number: int) -> Outcomes:
    failures = tuple(Failure(f"test_{each}", "told") for each in range(number))
    return Outcomes(passed=5000, failures=failures, is_whole=True, seed=1)


def test_more_failures_than_the_limit_are_not_run_again() -> None:
    assert rerun.reason_to_leave_it(failed(rerun.MAX_RERUN - 1)) is None
    assert rerun.reason_to_leave_it(failed(rerun.MAX_RERUN)) is None
    assert rerun.reason_to_leave_it(failed(rerun.MAX_RERUN + 1)) == (
        f"{rerun.MAX_RERUN + 1} failed, and over {rerun.MAX_RERUN} are no matter of chance"
    )


def test_the_number_and_size_of_kept_failure_logs_are_limited(
    runner: Runner, tmp_path: Path
) -> None:
    logs = tmp_path / "test-failures"
    logs.mkdir()
    for number in range(rerun.MAX_LOGS):
        old = logs / f"{number}.log"
        old.touch()
        os.utime(old, (number, number))
    long = FLAKY.replace('print("as', f'print("x" * {rerun.MAX_LOG_BYTES}, "as')
    assert runner(flaky=long).returncode == 0
    kept = sorted(path.name for path in logs.iterdir())
    assert len(kept) == rerun.MAX_LOGS
    assert "0.log" not in kept
    assert max(path.stat().st_size for path in logs.iterdir()) == rerun.MAX_LOG_BYTES


@pytest.mark.parametrize("at_try", cases(["first", "second"], {"second"}, "the second try"))
def test_ctrl_c_ends_pytest_and_the_run(tmp_path: Path, at_try: str) -> None:
    hanging = """
        import sys, time
        from pathlib import Path

        def test_hangs(capfd):
            marker = Path("tried")
            if marker.exists() or "AT" == "first":
                with capfd.disabled():
                    print("hangs", flush=True)
                time.sleep(60)
            marker.touch()
            assert False
    """
    project(tmp_path, {"hanging": hanging.replace("AT", at_try)})
    status, rest = interrupted(start(tmp_path))
    assert status == 2, rest
    assert "KeyboardInterrupt" in rest
    assert "FLAKY" not in rest


@pytest.mark.parametrize(
    "handler", cases(["hear_the_second", "signal.SIG_IGN"], {"signal.SIG_IGN"}, "the deafer one")
)
def test_ctrl_c_ends_a_test_run_that_ignores_sigint(tmp_path: Path, handler: str) -> None:
    """As where the signal comes just before a call that waits: it is told again, then killed."""
    deaf = """
        import signal, time

        def hear_the_second(number, frame):
            if told:
                raise KeyboardInterrupt
            told.append(number)

        def test_hangs(capfd):
            signal.signal(signal.SIGINT, HANDLER)
            with capfd.disabled():
                print("hangs", flush=True)
            time.sleep(60)

        told = []
    """
    project(tmp_path, {"deaf": deaf.replace("HANDLER", handler)})
    impatient = "from tests import rerun; rerun.ENDS_S = 0.2; raise SystemExit(rerun.main())"
    status, rest = interrupted(start(tmp_path, program=("-c", impatient)))
    assert status == 2, rest


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Press Ctrl-C when a test hangs; return the status of the run, and what it printed then."""
    with process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.rstrip().endswith("hangs"):  # no line of the source that a failure shows
                break
        os.killpg(process.pid, signal.SIGINT)
        rest = process.stdout.read()
    return process.returncode, rest
