"""The next command of an incident, typed into a real shell as it stands."""

from __future__ import annotations

import contextlib
import hashlib
import html
import os
import re
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_admin.alerting.findings import IncidentFinding, findings
from headgate_admin.alerting.next_steps import next_step, request_to
from headgate_admin.alerting.subjects import subjects_of
from headgate_gateway.background import at_once
from headgate_gateway.features.questions.loudest import LoudestList, StreamLoad
from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.settings.loading import load
from headgate_gateway.telemetry.health import CERTIFICATE_FILE, Cause, HealthNote
from headgate_gateway.telemetry.metrics import Sample, gauge
from tests.admin.consoles import Switchboard
from tests.admin.drills import Origin
from tests.support.certificates import Authority
from tests.support.http1 import ask
from tests.support.processes import AT_ONCE, HEADGATE, Headgate, headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import Settings

pytestmark = pytest.mark.usefixtures("processes")
PWNED = "$(touch pwned)"
FOLDER = f'it\'s `touch pwned` "{PWNED}" é'  # of the streams, and of the settings
PATH = "/it's/$(touch%20pwned)/&/(x);"  # of an origin; others are no URLs
HEALTH = "/h\"e'a`l`$(touch){th}?key=secret"
STREAM = quote(f"it's {PWNED} [1-3]", safe="()!*'")


class Origin6(Origin):
    """An origin on ::1."""

    address_family = socket.AF_INET6
    host = "::1"


@contextlib.contextmanager
def serving(origin: Origin) -> Iterator[Origin]:
    thread = threading.Thread(target=origin.serve_forever)
    thread.start()
    try:
        yield origin
    finally:
        origin.shutdown()
        thread.join()
        origin.server_close()


class Machine:
    """A machine on which two servers run, the shell of its operator, and one server's settings."""

    def __init__(self, folder: Path, server: Headgate, settings: Settings) -> None:
        self.folder, self.server, self.settings = folder, server, settings

    def types(self, command: str) -> str:
        """Return what a command prints, which ends well and runs nothing that a name says."""
        path = os.pathsep.join([str(HEADGATE.parent), os.environ["PATH"]])
        environment = {**os.environ, **AT_ONCE, "XDG_RUNTIME_DIR": str(self.folder), "PATH": path}
        done = subprocess.run(
            ["/bin/sh", "-c", command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert not (self.folder / "pwned").exists(), command
        return done.stdout + done.stderr


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """Yield a machine whose routes, folders and origins have names that shells would read."""
    folder = tmp_path / FOLDER
    folder.mkdir()
    environment = {"XDG_RUNTIME_DIR": str(tmp_path)}
    with contextlib.ExitStack() as stack:
        plain, six = stack.enter_context(serving(Origin())), stack.enter_context(serving(Origin6()))
        redis = stack.enter_context(redis_server(tmp_path / "redis"))
        stack.enter_context(headgate(environment=environment))
        first = stack.enter_context(contextlib.closing(Headgate(environment=environment)))
        routes = (
            ("/files", "storage", f"file:{folder}"),
            ("/redis", "storage", redis.url),
            ("/plain", "origin", plain.url.removesuffix("/v1/stream") + PATH),
            ("/six", "origin", six.url),
            ("/well", "origin", plain.url),
        )
        table = "".join(
            f'[[routes]]\nprefix = "{prefix}"\n{kind} = """{value}"""\n'
            for prefix, kind, value in routes
        )
        health = HEALTH.replace("\\", "\\\\").replace('"', '\\"')
        file = folder / "headgate.toml"
        file.write_text(
            f'listen = "127.0.0.1:{first.port}"\nadmin = "127.0.0.1:{first.admin_port}"\n'
            f'{table}health_path = "{health}"\n'
        )
        first.arguments = [str(HEADGATE), "serve", "--config", str(file)]
        yield Machine(tmp_path, first.start(), load(file, {}, {}))


def about(kind: str, route: str | None = None, alert: str = "") -> IncidentFinding:
    note = HealthNote(kind, route or "", Cause("down", {"reason": "slow"}))
    return IncidentFinding(
        ("check", note.name), "bad", "t", "It is slow.", route, alert, about=note
    )


@pytest.mark.parametrize(
    ("finding", "words"),
    [
        pytest.param(about("server"), "requests, ", id="server"),
        pytest.param(about("redis", "/redis"), "Redis", id="redis"),
        pytest.param(about("log", "/files"), "Mounted on", id="folder"),
        pytest.param(about("quota", "/files"), "/files/chat", id="quota"),
        pytest.param(about("settings"), "chmod 0700", id="settings"),
        pytest.param(about("clock"), "UTC", id="clock"),
        pytest.param(about("subscriptions"), "", id="subscriptions"),
        pytest.param(about("worker"), "the server has started", id="worker"),
        pytest.param(about("log", "/files", "HeadgateSlowAppends"), "appends, ", id="appends"),
        pytest.param(about("origin", "/plain"), "\n\ndata", id="origin"),
        pytest.param(about("origin", "/six"), "\n\ndata", id="ipv6"),
        pytest.param(about("origin", "/well"), "\n\ndata", id="health-path"),
        pytest.param(about("requests", "/well"), "\n\ndata", id="failed-requests"),
    ],
)
def test_the_next_command_says_more_in_a_shell_where_several_servers_run(
    machine: Machine, finding: IncidentFinding, words: str
) -> None:
    put = ask(machine.server.port, "PUT", "/files/chat", b"", Content_Type="text/plain")
    assert put.status == 201
    command = next_step(finding, machine.settings).command
    assert "secret" not in command
    found = f"--admin {machine.server.admin_url}"
    assert not command.startswith("headgate") or "--config" in command or found in command
    wait_until(lambda: words in machine.types(command), command, within_s=15)


def test_a_check_of_settings_with_relative_paths_works_in_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / FOLDER
    folder.mkdir()
    (folder / "tokens.toml").touch(0o600)
    (folder / "headgate.toml").write_text(
        'storage = "memory:"\nauth = ["tokens"]\n[credentials]\ntokens_file = "tokens.toml"\n'
    )
    monkeypatch.chdir(folder)
    machine = Machine(tmp_path, Headgate(), load(Path("headgate.toml"), {}, {}))
    assert "Valid" in machine.types(next_step(about("settings"), machine.settings).command)


async def test_the_next_command_about_a_stream_finds_it_by_any_name(machine: Machine) -> None:
    answer = ask(
        machine.server.port, "PUT", f"/files/{STREAM}", b"hello", Content_Type="text/plain"
    )
    assert answer.status == 201
    rates = dict.fromkeys(("load", "requests", "appends", "refused", "sent_bytes"), 1.0)
    largest = StreamLoad(route="/files", name=STREAM, received_bytes=1e6, **rates)
    alerts = ActiveAlerts(machine.settings)
    for now in (0.0, 150.0):
        at_once(alerts.look(now, [Sample(gauge("headgate_fastest_stream_bytes", ""), (), 1e6)]))
    source = Switchboard(answers=lambda _: (LoudestList((), (largest,)),))
    subjects = await subjects_of(source, alerts, machine.settings)
    (found,) = findings(Health(), [], alerts, machine.settings, subjects)
    command = next_step(found, machine.settings).command
    assert "next_offset" in machine.types(command)


TOKEN = "a-writer-of-streams-of-this-server"


@pytest.mark.parametrize("auth", ["none", "tokens"])
def test_the_first_commands_make_a_stream_append_and_follow_as_they_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, auth: str
) -> None:
    hashed = f"sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
    grants = '[{streams = "/v1/stream/*", operations = ["create", "append", "read"]}]'
    (tmp_path / "tokens.toml").write_text(
        f'[[tokens]]\nname = "writer"\ntoken = "{hashed}"\ngrants = {grants}\n'
    )
    monkeypatch.setenv("TOKEN", TOKEN)
    guard = {"HEADGATE_CREDENTIALS__TOKENS_FILE": str(tmp_path / "tokens.toml")}
    with headgate(environment={"HEADGATE_AUTH": auth, **(guard if auth == "tokens" else {})}) as it:
        page = ask(it.admin_port, "GET", "/").body.decode()
        commands = [html.unescape(found) for found in re.findall("<code>(curl.*?)</code>", page)]
        machine = Machine(tmp_path, it, load(None, {}, {"storage": "memory:"}))
        create, append, follow = commands
        said = [machine.types(create), machine.types(append), machine.types(f"{follow} -m 2; true")]
    for words, status in zip(said, ("201 Created", "204 No Content", "Hello"), strict=True):
        assert status in words


def test_the_next_command_about_a_certificate_reads_it_without_a_file_of_settings(
    tmp_path: Path,
) -> None:
    paths = Authority("authority", tmp_path / "authority.pem").issue(days=1).write(tmp_path)
    odd = paths.certificate.rename(tmp_path / f"it's {PWNED}.pem")
    note = HealthNote(CERTIFICATE_FILE, str(odd), Cause("ends_now", {"reason": "ends"}))
    finding = IncidentFinding(("check", note.name), "bad", "t", "It ends.", about=note)
    machine = Machine(tmp_path, Headgate(), load(None, {}, {"storage": "memory:"}))
    assert "notAfter=" in machine.types(next_step(finding, machine.settings).command)


def test_a_request_takes_a_url_as_it_is_without_its_credentials(tmp_path: Path) -> None:
    with serving(Origin()) as origin:
        machine = Machine(tmp_path, Headgate(), load(None, {}, {"storage": "memory:"}))
        url = origin.url.replace("http://", "http://ada:s3cret@") + "/{a,b}/[1-3]'?key=s3cret"
        command = request_to(url)
        assert "s3cret" not in command
        assert machine.types(command).count("HTTP/1.1 200 OK") == 1
