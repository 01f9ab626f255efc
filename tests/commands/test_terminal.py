"""Text of a server cannot act on the terminal of whoever runs a command."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.shell.terminal import safe
from tests.support.blocking_origin import BlockingOrigin
from tests.support.processes import HEADGATE, run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine
    from tests.support.blocking_origin import Exchange

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202e]")
COMMANDS = (
    ("head", "s"),
    ("head", "s", "--json"),
    ("read", "s"),
    ("create", "s"),
    ("create", "s", "--content-type", "text/plain"),
    ("append", "s", "--data", "x"),
    ("append", "s", "--data", "x", "--producer", "p"),
    ("append", "s", "--lines"),
    ("close", "s"),
    ("delete", "s"),
)


def refuse(exchange: Exchange) -> None:
    exchange.answer(b"", status=f"404 Not{EVIL}Found")


def mistype(exchange: Exchange) -> None:
    exchange.answer(b"", f"Content-Type: text/plain;{EVIL}", "Stream-Next-Offset: 1")


def agree(exchange: Exchange) -> None:
    fields = (
        "Content-Type: text/plain",
        f"Stream-Next-Offset: 1{EVIL}",
        "Stream-Up-To-Date: true",
        f"Stream-Expires-At: {EVIL}",
    )
    exchange.answer(b"", *fields)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("play", [refuse, agree, mistype])
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_text_of_a_server_is_printed_without_control_characters(
    command: tuple[str, ...], play: object, cli: CommandLine
) -> None:
    with BlockingOrigin(play) as origin:  # type: ignore[arg-type] # one of the two
        done = cli(*command, stdin=b"x\n", environment={"STREAM_URL": origin.url})
    for printed in (done.stdout, done.stderr):
        assert ACTS.search(printed.decode()) is None, printed
    assert done.stdout or done.stderr


@pytest.mark.usefixtures("processes")
def test_cdn_check_prints_differences_without_control_characters(tmp_path: Path) -> None:
    file = tmp_path / "headgate.conf"
    ours = [str(HEADGATE), "cdn"]
    run([*ours, "render", "caddy", "--host", "a.example", "-o", str(file)])
    file.write_text(f"{file.read_text()}# {EVIL}\n\tindented\n")
    printed = run([*ours, "check", str(file)]).stdout.decode()
    assert "-# \\u001b]0;owned\\u0007\\u001b[2J\\u009b31m\\u202e\n-\tindented\n" in printed
    assert ACTS.search(printed) is None


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        pytest.param("plain: é 日本 🎉\n\t", "plain: é 日本 🎉\n\t", id="plain-text"),
        pytest.param(
            "\x1b\x7f\x80\x00\r", r"\u001b\u007f\u0080\u0000\u000d", id="control-characters"
        ),
        pytest.param("\u200e\u2066\u061c", r"\u200e\u2066\u061c", id="directions-of-text"),
        pytest.param("\udcff", r"\udcff", id="a-byte-that-is-no-utf-8"),
    ],
)
def test_control_characters_are_printed_as_escapes(text: str, printed: str) -> None:
    assert safe(text) == printed


def test_escaping_control_characters_keeps_json_equal() -> None:
    value = {"said": "\x9b\u202e\x1b"}
    assert json.loads(safe(json.dumps(value, ensure_ascii=False))) == value


# ---------------------------------------------------------------- what else was a traceback


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("url", [r"http://a\@127.0.0.1:1/s", r"http://127.0.0.1:1\@x/s"])
def test_a_url_with_a_backslash_before_its_path_is_refused(url: str, cli: CommandLine) -> None:
    commands = [
        ("head", url),
        ("append", url, "--data", "x"),
        ("create", url),
        ("doctor", "cdn", url),
    ]
    for command in commands:
        done = cli(*command)
        assert done.returncode == 2
        assert b"there is no backslash before its path" in done.stderr
    done = cli("head", "s", environment={"STREAM_URL": url})
    assert done.returncode == 2
    assert b"STREAM_URL must be a URL" in done.stderr


@pytest.mark.usefixtures("processes")
def test_append_refuses_a_content_type_of_the_server_with_control_characters(
    cli: CommandLine,
) -> None:
    with BlockingOrigin(mistype) as origin:
        for how in (["--data", "x"], ["--data", "x", "--producer", "p"], ["--lines"]):
            command = ["append", "s", *how]
            done = cli(*command, stdin=b"x\n", environment={"STREAM_URL": origin.url})
            assert done.returncode == 1
            assert b"the server sent a Content-Type with control characters" in done.stderr
        assert {one.method for one in origin.seen} == {"HEAD"}


# ---------------------------------------------------------------- completion
