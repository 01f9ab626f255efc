"""The versions of redis-py that are declared: what depends on one is tried with both ends."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib

import pytest
import redis

from tests.support.processes import ROOT

OLDEST = ROOT / ".venv" / "oldest"  # of requirements/oldest.txt, installed for `make test-all`
# All ways to connect, the questions to sentinels, and cancellations at each step.
TRIED = ("test_redis_dialling.py", "test_redis_sentinels.py", "test_redis_silence.py")
# A real failover is played with the newest alone.
SLOW = "test_writers_continue_after_a_failover_while_a_sentinel_is_frozen"


def declared() -> tuple[str, str]:
    """The oldest version, and the one that is too new."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    (wanted,) = (it for it in settings["project"]["dependencies"] if it.startswith("redis["))
    bounds = re.fullmatch(r"redis\[hiredis\]>=([\d.]+),<([\d.]+)", wanted)
    assert bounds is not None
    return bounds[1], bounds[2]


def _numbers(version: str) -> list[int]:
    return [*map(int, version.split("."))]


def test_the_tests_use_the_newest_major_version_of_redis_py_that_is_declared() -> None:
    oldest, too_new = declared()
    assert _numbers(oldest) < _numbers(redis.__version__) < _numbers(too_new)
    assert _numbers(redis.__version__)[0] + 1 == _numbers(too_new)[0]


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(300)
def test_connections_are_opened_and_taken_over_with_the_oldest_redis_py_too() -> None:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")
    }
    environment["PYTHONPATH"] = str(OLDEST)
    told = [sys.executable, "-c", "import redis; print(redis.__version__)"]
    version = subprocess.check_output(told, env=environment, text=True).strip()
    assert version == declared()[0]
    modules = [f"tests/logs/{name}" for name in TRIED]
    options = ("-q", "-p", "no:cacheprovider", "-k", f"not {SLOW}")
    command = [sys.executable, "-m", "pytest", *options, *modules]
    tried = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert tried.returncode == 0, tried.stdout[-5000:]
