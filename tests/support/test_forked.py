"""A forked `headgate` is told apart from one that was started anew only by what it costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import click
import pytest

from headgate_gateway.__main__ import cli
from tests.support.examples import cases
from tests.support.forked import Forked, Forks
from tests.support.ports import free_port
from tests.support.processes import ANEW, AT_ONCE, HEADGATE, ROOT, Headgate, headgate, run, start
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("processes")

NOWHERE = "http://127.0.0.1:1/v1/stream"
# Arguments with which a command soon ends; one that is not here only tells of itself.
ENDING: dict[str, tuple[str, ...]] = {
    "cdn": ("render", "nginx", "--host", "a.example"),
    "config": ("check",),
    "doctor": ("cdn", NOWHERE),
    "monitor": ("alerts",),
    "serve": ("--storage", "nonsense:"),
    "stream": ("read", f"{NOWHERE}/s"),
}
NAMES = cli.list_commands(click.Context(cli))
# To start each anew is what costs.
ONE_THAT = {"cdn", "config", "stream"}  # tells of itself, succeeds, and asks a server in vain


def is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("name", cases(NAMES, ONE_THAT, "one of each kind"))
def test_each_forked_command_prints_and_exits_like_a_fresh_one(name: str) -> None:
    command = [str(HEADGATE), name, *ENDING.get(name, ("--help",))]
    environment = {**os.environ, **AT_ONCE, "HEADGATE_ADMIN": f"127.0.0.1:{free_port()}"}
    forked, anew = (
        run([*preface, *command], b"short\n", environment=environment) for preface in ((), ANEW)
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        (anew.returncode, anew.stdout, anew.stderr)
    )
    assert forked.stdout + forked.stderr


@pytest.mark.parametrize(
    "number", cases([signal.SIGINT, signal.SIGTERM, signal.SIGKILL], {signal.SIGTERM}, "SIGTERM")
)
def test_a_signal_ends_forked_and_fresh_servers_with_the_same_status(
    number: signal.Signals,
) -> None:
    statuses = []
    for preface in ((), ANEW):
        with headgate(preface=preface) as server:
            assert server.process is not None
            assert isinstance(server.process, Forked) == (preface == ())
            server.process.send_signal(number)
            statuses.append(server.process.wait(20))
            assert not is_there(server.pid)
    assert statuses[0] == statuses[1] == (-9 if number == signal.SIGKILL else 0)


def test_a_forked_command_uses_the_given_folder_and_environment(tmp_path: Path) -> None:
    process = start(
        [HEADGATE, "config", "check"],
        environment={**os.environ, **AT_ONCE, "HEADGATE_STORAGE": "file:here"},
        stdout=subprocess.PIPE,
        folder=tmp_path,
    )
    assert isinstance(process, Forked)
    output, _ = process.communicate(timeout=20)
    assert f"file:{tmp_path}/here" in output.decode()
    assert "HEADGATE_ORIGIN" not in os.environ


def test_forked_processes_end_with_the_process_that_started_them() -> None:
    program = (
        "import os, sys; from tests.support import processes;"
        "server = processes.Headgate().start();"
        "print(server.pid, processes._forks().pid, flush=True); sys.stdin.read()"
    )
    asking = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert asking.stdout is not None
    pids = [int(pid) for pid in asking.stdout.readline().split()]
    assert len(pids) == 2
    assert all(map(is_there, pids))
    asking.kill()
    asking.communicate()
    wait_until(lambda: not any(map(is_there, pids)), "both have ended")


def test_forked_processes_end_with_the_fork_server() -> None:
    forks = Forks({**os.environ, **AT_ONCE}, ROOT)
    arguments = Headgate().arguments
    forked = Forked(forks, arguments, environment=os.environ, stderr=subprocess.DEVNULL)
    os.kill(forks.pid, signal.SIGKILL)
    with pytest.raises(RuntimeError, match="the fork server has ended"):
        forked.wait(20)
    wait_until(lambda: not is_there(forked.pid), "it has ended, too")
    forks.close()
