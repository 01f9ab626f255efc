"""Headings and colour: on a terminal only, and colour only for a user who wants it."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.shell import colour
from tests.commands.conftest import CommandLine
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import Headgate, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

ESCAPE = re.compile(rb"\x1b\[\d*m")
RED, GREEN, PLAIN = b"\x1b[31m", b"\x1b[32m", b"\x1b[0m"
WITHOUT_COLOUR = ({"NO_COLOR": "1"}, {"TERM": "dumb"})
REPORT = (
    "from headgate_doctor import report; report.report('pass            a: b.\\n', report.COLOURS)"
)


@pytest.fixture(scope="module")
def troubled(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[CommandLine]:
    """Yield the command line of a server with a stream, and a route whose origin is away."""
    away = f"http://127.0.0.1:{free_port()}"
    server = Headgate()
    server.serve_routes(
        {"prefix": "/v1/stream", "storage": "memory:"}, {"prefix": "/away", "origin": away}
    )
    server.start()
    with closing(server):
        made = CommandLine(server.streams)
        folder = tmp_path_factory.mktemp("contexts")
        made.environment |= {
            "STREAM_ADMIN_URL": server.admin_url,
            "XDG_CONFIG_HOME": str(folder),
            "TERM": "xterm",
        }
        made.environment.pop("NO_COLOR", None)
        made.output("create", "s", "--data", "x")
        wakes = b'{"type": "pull-wake", "pattern": "a/*", "wake_stream": "wakes"}'
        assert ask(server.port, "PUT", "/v1/stream/__ds/subscriptions/one", wakes).status == 201
        made.output("config", "context", "add", "prod", "http://127.0.0.1:1/v1/stream")
        assert ask(server.port, "GET", "/away/s?offset=-1").status >= 500
        wait_until(lambda: made("status").returncode == 1, "the origin is known to be away")
        yield made
        made.kill()


def on_terminal(command: list[str], environment: Mapping[str, str]) -> bytes:
    """Return what a command writes to a terminal."""
    terminal, theirs = pty.openpty()
    process = start(
        command, environment=environment, stdout=theirs, stderr=subprocess.DEVNULL, stdin=theirs
    )
    os.close(theirs)
    shown = b""
    with suppress(OSError):  # at the end of the command
        while piece := os.read(terminal, 4096):
            shown += piece
    process.wait()
    os.close(terminal)
    return shown.replace(b"\r\n", b"\n")


@pytest.mark.parametrize(
    ("command", "heading", "painted"),
    [
        pytest.param("ls", r"STATE +BYTES  READERS    RATE/S  EXPIRES +NAME\n", "", id="ls"),
        pytest.param(
            "data retention s", r"LIMIT +VALUE  SET BY\n", "", id="the-limits-of-a-stream"
        ),
        pytest.param(
            "stream subscriptions list", r"STATUS  KIND +STREAMS +.*  ID\n", "", id="subscriptions"
        ),
        pytest.param("config context list", r"  NAME  URL\n", "", id="contexts"),
        pytest.param(
            "monitor events",
            r"TIME +LEVEL    KIND +LASTED  COUNT  EVENT\n",
            "  \x1b[32mgood\x1b[0m     server ",
            id="events",
        ),
        pytest.param("status", "", "\n  \x1b[31mbad\x1b[0m: ", id="status"),
        pytest.param("status", "", "\n\x1b[1mREQUESTS/S ", id="headings-of-status"),
        pytest.param("top --once", "", "\n! \x1b[31mbad\x1b[0m: ", id="top"),
    ],
)
def test_a_terminal_gets_headings_and_colours_and_a_pipe_neither(
    command: str, heading: str, painted: str, troubled: CommandLine
) -> None:
    words = [troubled.program, *command.split()]
    seen = on_terminal(words, troubled.environment).decode()
    assert re.match(heading, ESCAPE.sub(b"", seen.encode()).decode())
    assert not heading or seen.startswith("\x1b[1m")
    assert painted in seen
    for without in WITHOUT_COLOUR:
        plain = on_terminal(words, {**troubled.environment, **without})
        assert ESCAPE.search(plain) is None
        assert re.match(heading, plain.decode())
    piped = troubled(*command.split()).stdout.decode()
    assert "\x1b" not in piped
    assert piped
    assert not heading or re.match(heading, piped) is None


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("environment", "painted"),
    [({"TERM": "xterm"}, GREEN + b"pass" + PLAIN), *((it, b"pass") for it in WITHOUT_COLOUR)],
    ids=["colour", "NO_COLOR", "TERM"],
)
def test_the_verdicts_of_the_doctor_have_colours_on_a_terminal(
    environment: Mapping[str, str], painted: bytes, tmp_path: Path
) -> None:
    command = [sys.executable, "-c", REPORT]
    inherited = {name: it for name, it in os.environ.items() if name != "NO_COLOR"}
    shown = on_terminal(command, {**inherited, **environment})
    assert shown == painted + b"            a: b.\n"
    assert subprocess.check_output(command) == b"pass            a: b.\n"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("  bad: it is away", "  \x1b[31mbad\x1b[0m: it is away"),
        ("! warning: it is slow", "! \x1b[33mwarning\x1b[0m: it is slow"),
        ("  warning  memory: full", "  \x1b[33mwarning\x1b[0m  memory: full"),
        ("/bad -> memory: (serving)", "/bad -> memory: (serving)"),
        ("           error of a long line", "           error of a long line"),
        ("  badly named", "  badly named"),
    ],
    ids=[
        "a-cause",
        "a-cause-in-top",
        "a-finding",
        "a-route",
        "a-second-line",
        "the-beginning-of-a-word",
    ],
)
def test_only_a_level_at_the_beginning_of_a_line_is_painted(
    line: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(colour, "has_colour", lambda: True)
    assert colour.painted(line) == shown
