"""Every block of the README runs as it is printed, with addresses of this machine."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.process.running_servers import running_servers
from scripts.sessions import Terminal, sessions
from tests.clients.pages import examples
from tests.support.processes import ROOT, Headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from scripts.sessions import Step

README = (ROOT / "README.md").read_text()
PATIENCE_S = 20.0
PRINTED_ADDRESS = "127.0.0.1:4437"
PRINTED_REDIS = "redis://127.0.0.1:6379"


class Desk:
    """A server, and two terminals in a folder like a clone of ours."""

    def __init__(self, folder: Path) -> None:
        (folder / ".venv").symlink_to(sys.prefix)
        self._found = {"XDG_RUNTIME_DIR": str(folder), "XDG_CONFIG_HOME": os.devnull}
        self.server = Headgate(f"file:{folder / 'headgate-data'}", environment=self._found)
        inherited = {name: it for name, it in os.environ.items() if name != "STREAM_URL"}
        environment = inherited | self._found
        self.first = Terminal(folder, environment)
        self.second = Terminal(folder, environment)

    def start_second(self) -> Headgate:
        """Start a server whose origin is the first one."""
        second = Headgate(self.server.url, environment=self._found)
        second.start()
        wait_until(lambda: len(running_servers(self._found)) == 2, "commands find both")
        return second

    def spelled(self, command: str) -> str:
        """The command with the address of this server for that of the document."""
        return command.replace(PRINTED_ADDRESS, self.server.url.removeprefix("http://"))

    def play(self, step: Step) -> None:
        """Do what a step of the README says, and compare what it prints."""
        if step.command.startswith("make run"):
            self.server.start()
            wait_until(lambda: len(running_servers(self._found)) == 1, "commands find it")
        elif step.terminal == "reader":
            self.second.begin(self.spelled(step.command))
            self.second.until(re.escape("\n".join(step.printed)))
        else:
            self.first.play(step, self.spelled)
            if step.command.startswith("kill -9"):
                self.server.kill()  # it is dead: this only waits for it


@pytest.fixture
def desk(processes: None, tmp_path: Path) -> Iterator[Desk]:
    made = Desk(tmp_path)
    try:
        with made.first, made.second:
            yield made
    finally:
        made.server.close()


def test_the_readme_has_no_block_that_is_not_played_here() -> None:
    kinds = re.findall(r"^```(\w+)$", README, re.MULTILINE)
    assert kinds == ["console", "sh", "sh", "yaml", "sh", "python", "js", "js"]


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_the_session_of_the_readme_runs_as_printed(desk: Desk) -> None:
    """The server is killed in it, and the tail goes on where it was.

    The writer's commands work while the second server of the next section runs, too.
    """
    (steps,) = sessions(README)
    beginnings = " ".join(step.command.split()[0] for step in steps)
    assert beginnings == "make export headgate headgate export headgate kill make headgate curl"
    for step in steps:
        desk.play(step)
    lines = desk.second.until(r"log\.").splitlines()
    data = [line for line in lines if not line.startswith("headgate: ")]  # it connects again
    assert "".join(data) == "Once upon a time there was a log."
    with contextlib.closing(desk.start_second()):
        for command in ("append story --data x", "read story", "ls"):
            assert (command, desk.first.run(f"headgate {command}")[0]) == (command, 0)


def read(server: Headgate, name: str, begin: str = "-1") -> bytes:
    with urllib.request.urlopen(f"{server.streams}/{name}?offset={begin}") as answer:
        body: bytes = answer.read()
    return body


def create(server: Headgate, name: str, body: bytes) -> None:
    fields = {"Content-Type": "text/plain"}
    creation = urllib.request.Request(f"{server.streams}/{name}", body, fields, method="PUT")
    urllib.request.urlopen(creation).close()


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
def test_the_origins_of_the_readme_are_served_by_the_command_that_names_them(
    desk: Desk, tmp_path: Path
) -> None:
    before_a_server, _, before_redis = examples("README.md", "sh")
    pattern = r'make run ARGS="--(origin|storage) (\S+)(?: --listen \S+ --admin \S+)?"\n'
    desk.server.start()
    create(desk.server, "story", b"Once")
    with redis_server(tmp_path / "redis") as redis:
        places = {f"http://{PRINTED_ADDRESS}": desk.server.url, PRINTED_REDIS: redis.url}
        for block, name in ((before_a_server, "story"), (before_redis, "tale")):
            kind, place = re.fullmatch(pattern, block).groups()  # type: ignore[union-attr]
            assert kind == ("storage" if place == PRINTED_REDIS else "origin")
            server = Headgate(places[place])
            with contextlib.closing(server.start()):
                if name == "tale":
                    create(server, name, b"Once")
                assert read(server, name) == b"Once"


@pytest.mark.usefixtures("processes")
def test_the_readme_renders_a_configuration_and_scrapes_the_address_of_the_metrics(
    desk: Desk, tmp_path: Path
) -> None:
    before_a_server, rendering, _ = examples("README.md", "sh")
    desk.first.run('export PATH="$PWD/.venv/bin:$PATH"')
    assert desk.first.run(rendering.strip())[0] == 0
    made = (tmp_path / "headgate.conf").read_text()
    assert "server_name streams.example.com;" in made
    # Of the gateway that it is for.
    ((origin, listen),) = re.findall(r"--origin (\S+) --listen (\S+) ", before_a_server)
    assert f"server {listen};" in made
    assert (tmp_path / "edge.toml").read_text() == f'origin = "{origin}"\n'
    assert "# Made for one origin at /v1/stream: readers sign in by Authorization, any" in made
    status, said = desk.first.run("headgate cdn check headgate.conf --config edge.toml")
    assert status == 0, said
    (scraping,) = examples("README.md", "yaml")
    checked = tmp_path / "prometheus.yml"
    checked.write_text(scraping)
    subprocess.run(["promtool", "check", "config", checked], check=True, capture_output=True)
    (target,) = re.findall(r'targets: \["(\S+)"\]', scraping)
    assert f'--admin {target}"' in README
    desk.server.start()
    with urllib.request.urlopen(f"{desk.server.admin_url}/metrics") as answer:
        assert b"headgate_requests_total" in answer.read()


@pytest.mark.usefixtures("processes")
def test_each_run_of_the_python_of_the_readme_prints_all_visits_with_offsets_to_go_on_at(
    desk: Desk,
) -> None:
    (program,) = examples("README.md", "python")
    desk.server.start()
    for number in (1, 2):
        with subprocess.Popen(
            [sys.executable, "-u", "-c", desk.spelled(program)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as running:
            assert running.stdout is not None
            printed = [running.stdout.readline().decode().split() for _ in range(number)]
            running.send_signal(signal.SIGINT)  # as Ctrl-C does
            _, traceback = running.communicate(timeout=PATIENCE_S)
        assert (running.returncode, traceback) == (0, b"")
        assert [line[:2] for line in printed] == [["{'id':", "1}"]] * number
        for after, (_, _, place) in enumerate(printed, 1):
            begin, _, count = place.partition(",")
            rest = json.loads(read(desk.server, "visits", begin))[int(count or 0) :]
            assert rest == [{"id": 1}] * (number - after)
