"""Reloads of several workers and by the command: all change together, or none does."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.support.given_settings import lines as lines_of
from tests.support.http1 import ask
from tests.support.processes import HEADGATE, run
from tests.support.waiting import wait_until
from tests.workers.several import Several

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

ORIGIN = "http://127.0.0.1:9"  # which nothing is asked of
TRIES = 20  # requests, each on a connection of its own: both workers get some


class Configured:
    """A server with a file of settings, which a test writes anew."""

    def __init__(self, folder: Path, workers: int) -> None:
        self.file = folder / "headgate.toml"
        self.server = Several("memory:", arguments=["--config", str(self.file)])
        at = self.server.arguments.index("--storage")
        del self.server.arguments[at : at + 2]
        self._workers = workers

    def write(self, *prefixes: str, **settings: object) -> None:
        """Write routes with these prefixes, and other settings."""
        given = {"workers": self._workers, **settings}
        lines = lines_of(given)
        for prefix in prefixes:
            lines += ["[[routes]]", f'prefix = "{prefix}"', f'origin = "{ORIGIN}{prefix}"']
        self.file.write_text("\n".join(lines) + "\n")

    def statuses(self, path: str) -> set[int]:
        """The statuses of TRIES reads."""
        return {ask(self.server.port, "GET", path).status for _ in range(TRIES)}

    def reload(self, *options: str) -> subprocess.CompletedProcess[bytes]:
        """What the command prints, and its status."""
        environment = {
            **self.server.environment,
            "HEADGATE_CONFIG": str(self.file),
            "HEADGATE_LISTEN": f"127.0.0.1:{self.server.port}",
            "HEADGATE_ADMIN": f"127.0.0.1:{self.server.admin_port}",
        }
        return run([HEADGATE, "config", "reload", *options], environment=environment)


@contextlib.contextmanager
def configured(folder: Path, workers: int, **environment: str) -> Iterator[Configured]:
    """A server with one route, /a."""
    made = Configured(folder, workers)
    made.server.environment |= environment
    made.write("/a")
    try:
        made.server.start()
        wait_until(made.server.is_ready, "all workers serve")
        yield made
    finally:
        made.server.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_puts_new_settings_in_force_in_all_workers(
    tmp_path: Path, workers: int
) -> None:
    with configured(tmp_path, workers) as at:
        assert at.statuses("/b/s") == {404}
        at.write("/a", "/b")
        done = at.reload()
        assert (done.returncode, done.stdout) == (0, b"In force: /a /b\n")
        assert at.statuses("/b/s") == {502}
        assert at.server.metrics()['headgate_reloads_total{result="done"}'] == 1
        assert at.reload("--json").stdout == (b'{"routes": ["/a", "/b"], "warnings": []}\n')


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dangerous_setting_is_logged_once_by_the_reload_that_brings_it(
    tmp_path: Path, workers: int
) -> None:
    with configured(tmp_path, workers) as at:
        at.write("/a", long_poll_timeout=60)
        assert at.reload().returncode == 0
        (line,) = at.server.told("settings.dangerous")
        assert line["what"].startswith(
            f"{at.file}:2: live.long_poll_timeout is 60: by default nginx"
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_a_refused_reload_is_explained_and_no_worker_changes(tmp_path: Path, workers: int) -> None:
    with configured(tmp_path, workers) as at:
        at.write("/a", "/b", log_format="json")
        refused = at.reload()
        assert refused.returncode == 1
        assert b"log.format cannot be changed by a reload" in refused.stderr
        assert b"log.format cannot be changed by a reload" in refused.stderr
        at.write("/a", "/b", tokens_file="/nowhere/tokens.toml", auth=["tokens"])
        assert b"/nowhere/tokens.toml" in at.reload().stderr
        assert at.statuses("/b/s") == {404}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dry_run_prints_what_a_reload_would_change_and_changes_nothing(
    tmp_path: Path, workers: int
) -> None:
    with configured(tmp_path, workers) as at:
        assert at.reload("--dry-run").stdout == b"Nothing would change.\n"
        at.write("/a", "/b", long_poll_timeout=30)
        wait_until(lambda: b"/b" in at.reload("--dry-run").stdout, "the file is read again")
        done = at.reload("--dry-run")
        assert (done.returncode, done.stdout.decode().splitlines()) == (
            0,
            [
                f"routes[1].prefix of /b: none yet -> /b ({at.file}:7); by a reload: yes",
                f"routes[1].origin of /b: none yet -> {ORIGIN}/b ({at.file}:8); by a reload: yes",
                f"live.long_poll_timeout: 20 -> 30 ({at.file}:2); by a reload: yes, for polls that "
                "begin then",
                "/b is opened",
            ],
        )
        assert at.statuses("/b/s") == {404}
        assert at.reload().returncode == 0
        assert at.reload("--dry-run").stdout == b"Nothing would change.\n"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_dry_run_ends_with_1_and_the_reasons_where_a_reload_would_be_refused(
    tmp_path: Path, workers: int
) -> None:
    with configured(tmp_path, workers) as at:
        at.write("/a", log_format="json")
        refused = at.reload("--dry-run")
        assert refused.returncode == 1
        assert refused.stderr.decode() == (
            f"headgate: {at.file}:2: log.format cannot be changed by a reload: it is auto "
            "until a restart\n"
        )
        at.write("/a", long_pol_timeout=1)
        problem = (
            f"{at.file}:2: long_pol_timeout is not a setting; the nearest is "
            "live.long_poll_timeout."
        )
        options = ("--dry-run", "--json", "--admin", f"http://127.0.0.1:{at.server.admin_port}")
        wait_until(
            lambda: json.loads(at.reload(*options).stdout)["problems"] == [problem],
            "the file is read again",
        )


def test_a_worker_that_starts_after_a_reload_has_the_new_settings(tmp_path: Path) -> None:
    with configured(tmp_path, 2) as at:
        at.write("/a", "/b")
        assert at.reload().returncode == 0
        for pid in at.server.workers().values():
            subprocess.run(["kill", "-9", str(pid)], check=True)
        wait_until(lambda: len(at.server.told("worker.ended")) == 2, "both have ended")
        wait_until(at.server.is_ready, "both are replaced")
        assert at.statuses("/b/s") == {502}


def test_a_worker_that_starts_amid_a_reload_has_the_new_settings(tmp_path: Path) -> None:
    with configured(tmp_path, 2) as at:
        at.write("/a", "/b")
        wait_until(lambda: len(at.server.told("worker.started")) == 2, "both have started")
        slow, killed = at.server.workers().values()
        os.kill(slow, signal.SIGSTOP)  # so that the reload waits for it
        try:
            with ThreadPoolExecutor(1) as pool:
                reload = pool.submit(at.reload)
                os.kill(killed, signal.SIGKILL)
                wait_until(lambda: killed not in at.server.workers().values(), "it has ended")
                wait_until(lambda: len(at.server.workers()) == 2, "another one is there")
                assert not reload.done()
                os.kill(slow, signal.SIGCONT)
                assert reload.result().returncode == 0
        finally:
            os.kill(slow, signal.SIGCONT)
        wait_until(at.server.is_ready, "both serve")
        assert at.statuses("/b/s") == {502}


def test_each_reason_of_a_refused_reload_has_a_line(tmp_path: Path) -> None:
    with configured(tmp_path, 1) as at:
        at.write("/a", sse_hartbeat=1, long_poll_timeout=500)
        refused = at.reload("--admin", f"http://127.0.0.1:{at.server.admin_port}")
        assert [line.split(" ")[2] for line in refused.stderr.decode().splitlines()] == [
            "sse_hartbeat",
            "live.long_poll_timeout",
        ]


def test_the_command_says_what_is_wrong_when_nothing_listens(tmp_path: Path) -> None:
    at = Configured(tmp_path, 1)
    at.write("/a")
    failed = at.reload()
    assert failed.returncode == 69
    assert b"cannot connect: Connection refused" in failed.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pipe_in_place_of_the_settings_is_refused_and_the_server_stops_in_time(
    tmp_path: Path, workers: int
) -> None:
    with configured(tmp_path, workers) as at:
        at.file.unlink()
        os.mkfifo(at.file)
        refused = at.reload("--admin", f"http://127.0.0.1:{at.server.admin_port}")
        assert refused.returncode == 1
        assert refused.stderr.decode() == (
            f"headgate: {at.file} is no file, so it cannot be read again.\n"
        )
        assert at.server.terminate() == 0
