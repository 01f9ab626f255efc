"""`headgate status` and `headgate top` against real servers."""

from __future__ import annotations

import json
import os
import pty
import re
from typing import TYPE_CHECKING

import pytest

from headgate_admin.pages import show
from tests.commands.conftest import CommandLine
from tests.support.blocking_origin import BlockingOrigin
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.processes import headgate, start
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def watcher(server: Headgate) -> Iterator[CommandLine]:
    """Yield a command line that knows the admin listener."""
    made = CommandLine(server.streams)
    made.environment["STREAM_ADMIN_URL"] = server.admin_url
    yield made
    made.kill()


def test_status_says_what_the_first_page_of_the_console_says(
    watcher: CommandLine, server: Headgate
) -> None:
    watcher.output("create", "status", "--data", "x")
    row = r"\n +0\.\d+ .* B  "
    stream, client = f"{row}/v1/stream/status\n", rf"{row}127\.0\.0\.1 headgate\n"

    def is_counted() -> bool:
        text = watcher.output("status").decode()
        return None not in {re.search(stream, text), re.search(client, text)}

    wait_until(is_counted, "the stream and the client are among the loudest")
    printed = json.loads(watcher.output("status", "--json"))
    told = json.loads(ask(server.admin_port, "GET", "/api/v1/overview").body)
    assert (printed["needs_attention"], printed["attention"]) == (False, [])
    assert printed["instance"] == told["instance"]
    assert printed["routes"][0]["streams"]["created"] == told["routes"][0]["streams"]["created"]
    assert "Streams" in {it["name"] for it in printed["routes"][0]["facts"]}
    assert "status" in {it["name"] for it in printed["loudest_streams"]}
    assert "127.0.0.1" in {it["address"] for it in printed["loudest_clients"]}
    assert printed["live_readers"] == told["live_readers"]["value"]
    text = watcher.output("status").decode()
    version = re.escape(show.version(told["instance"]["version"]))
    assert re.match(
        rf"127\.0\.0\.1:{server.port}: serving, up \d+ (s|min), version {version}\n", text
    )
    assert "\nNothing needs attention.\n" in text
    assert "\n/v1/stream -> memory: (serving)\n" in text
    stored = r"\n  \d+ streams? stored; since the start: \d+ created, \d+ expired, \d+ deleted\n"
    assert re.search(stored, text)
    for name in (
        "Requests",
        "Served from memory",
        "Live readers",
        "Appends",
        "  Streams:",
    ):
        assert f"\n{name}" in text


def test_status_exits_with_1_when_something_needs_attention_and_says_that_it_has_ended() -> None:
    port = free_port()
    away = f"http://127.0.0.1:{port}"
    with headgate(away) as edge:
        watcher = CommandLine(edge.streams)
        assert ask(edge.port, "GET", "/v1/stream/s?offset=-1").status >= 500
        options = ("--admin", edge.admin_url)

        def is_seen() -> bool:
            return watcher("status", *options).returncode == 1

        wait_until(is_seen, "the origin is known to be away")
        done = watcher("status", *options)
        first, second, third, *_ = done.stdout.decode().splitlines()
        assert "serving" not in first
        assert second == "Needs attention:"
        assert re.match(r"  (bad|warning): .*\(.* ago\)|  (bad|warning): .*\(now\)", third)
        assert f"\n  {away.removeprefix('http://')}: down\n" in done.stdout.decode()
        assert json.loads(watcher("status", "--json", *options).stdout)["needs_attention"]
        ended = rb"\n  over for \d+ s: the origin of /v1/stream could not be reached\n"
        with headgate(port=port):

            def is_over() -> bool:
                return re.search(ended, watcher("status", *options).stdout) is not None

            wait_until(is_over, "the origin is back", within_s=30)


@pytest.mark.parametrize("name", ["status", "top"])
def test_a_server_that_is_away_or_is_no_headgate_is_named(name: str, server: Headgate) -> None:
    watcher = CommandLine(server.streams)
    away = watcher(name, "--admin", f"http://127.0.0.1:{free_port()}")
    assert (away.returncode, away.stdout) == (69, b"")
    assert b"cannot connect" in away.stderr
    with BlockingOrigin() as other:
        other.play = lambda exchange: exchange.answer(b"{}")
        odd = watcher(name, "--admin", other.url)
    assert (odd.returncode, odd.stdout) == (1, b"")
    assert b"answers, and is no admin listener of this version" in odd.stderr


def test_top_prints_loud_streams_clients_and_refusals(watcher: CommandLine) -> None:
    watcher.output("create", "top/busy")
    for _ in range(2):
        watcher.output("append", "top/busy", "--data", "12345")
    assert watcher("head", "top/none").returncode == 3
    watcher.start("tail", "top/busy")
    rows = {
        "a stream": r"^ +0\.\d+ +0\.\d+ +0 +\d.* B  /v1/stream/top/busy$",
        "a client": r"^ +0\.\d+ +0\.\d+ +0\.\d+ +\d.* B  127\.0\.0\.1 headgate",
        "a refusal": r"^ +\d+ +404  /v1/stream$",
        "a live reader": r", 1 live reader \(1 sse, 0 long-poll\), ",
    }

    def missing() -> list[str]:
        frame = watcher.output("top", "--once").decode()
        return [name for name, row in rows.items() if re.search(row, frame, re.MULTILINE) is None]

    wait_until(lambda: missing() == [], "all are in a frame", lambda: f"missing: {missing()}")


def test_top_prints_frame_after_frame_into_a_pipe(watcher: CommandLine) -> None:
    running = watcher.start("top", "--interval", "0.5")
    assert running.stdout is not None
    titles = 0
    while titles < 2:
        titles += b", version " in running.stdout.readline()


def test_top_redraws_a_terminal_until_q_and_leaves_it_as_it_was(
    watcher: CommandLine, tmp_path: Path
) -> None:
    terminal, ours = pty.openpty()
    command = start(
        [watcher.program, "top", "--interval", "0.5"],
        environment=watcher.environment | {"COLUMNS": "80", "LINES": "24"},
        stdin=ours,
        stdout=ours,
        stderr=ours,
        folder=tmp_path,
    )
    os.close(ours)
    shown = b""
    while shown.count(b"\x1b[H") < 3:  # drawn three times
        shown += os.read(terminal, 4096)
    os.write(terminal, b"q")
    while b"\x1b[?1049l" not in shown:
        shown += os.read(terminal, 4096)
    assert command.wait(20) == 0
    os.close(terminal)
    before, _, drawn = shown.partition(b"\x1b[?1049h")
    assert before == b""
    assert drawn.endswith(b"\x1b[?25h\x1b[?1049l")
    text = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "\n", drawn.decode())
    assert {len(line) <= 80 for line in text.splitlines()} == {True}
