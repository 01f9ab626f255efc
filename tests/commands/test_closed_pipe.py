"""Commands whose output is read no more end without a word, with the status that they found."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.processes import AT_ONCE, HEADGATE

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("processes")


@pytest.fixture
def closed_pipe() -> Iterator[int]:
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    yield writing
    os.close(writing)


def ended(closed_pipe: int, *arguments: str) -> tuple[int, str]:
    """The exit status of a command, and what it says on stderr."""
    done = subprocess.run(
        [HEADGATE, *arguments],
        stdout=closed_pipe,
        stderr=subprocess.PIPE,
        text=True,
        timeout=20,
        check=False,
        env={**os.environ, **AT_ONCE},
    )
    return done.returncode, done.stderr


def test_cdn_render_and_check_exit_with_their_status_when_their_output_pipe_is_closed(
    closed_pipe: int, tmp_path: Path
) -> None:
    settings = tmp_path / "headgate.toml"
    settings.write_text('listen = "10.0.0.5:4000"\nauth = "none"\n')
    config = ("--config", str(settings))
    rendered = ("cdn", "render", "haproxy", *config, "--host", "a.example")
    assert ended(closed_pipe, *rendered) == (0, "")
    file = tmp_path / "haproxy.cfg"
    assert ended(closed_pipe, *rendered, "-o", str(file)) == (0, f"headgate: wrote {file}.\n")
    file.write_text(file.read_text() + "# changed\n")
    assert ended(closed_pipe, "cdn", "check", *config, str(file)) == (1, "")


@pytest.mark.parametrize("arguments", ["config check --json", "--version", "--help"])
def test_a_command_whose_reader_has_ended_exits_with_0(closed_pipe: int, arguments: str) -> None:
    assert ended(closed_pipe, *arguments.split()) == (0, "")


@pytest.mark.parametrize("arguments", ["config check --json", "--version", "--help"])
def test_a_command_whose_output_finds_no_room_says_so_and_exits_with_1(arguments: str) -> None:
    with Path("/dev/full").open("wb") as full:
        assert ended(full.fileno(), *arguments.split()) == (
            1,
            "headgate: the output cannot be written: No space left on device.\n",
        )


@pytest.mark.parametrize(
    "command", ["data verify LONG", "data backup LONG b", "data restore LONG r"]
)
def test_a_file_name_that_is_too_long_is_named_with_the_reason(
    command: str, closed_pipe: int
) -> None:
    name = f"/{'n' * 300}"
    status, said = ended(closed_pipe, *command.replace("LONG", name).split())
    assert (status, said) == (1, f"headgate: {name}: File name too long.\n")


def test_an_argument_that_is_no_utf_8_is_refused(closed_pipe: int) -> None:
    assert ended(closed_pipe, "ls", "x\udcff") == (
        2,
        "headgate: an argument is no UTF-8 text.\n",
    )
