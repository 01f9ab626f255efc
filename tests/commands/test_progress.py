"""What a command that lasts shows on a terminal, and what it leaves there."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.shell import progress
from headgate_gateway.tools.shell.progress import Progress
from tests.commands.copying import opened
from tests.streams.service import Service
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands.conftest import CommandLine, Stream

ERASED = b"\r\x1b[K"
AT_ONCE = (
    "from headgate_gateway.tools.shell import progress; progress.QUIET_S = progress.EVERY_S = 0;"
    "from headgate_gateway.entry import main; main()"
)


class ManualTime:
    """A clock in seconds that stands still until `now` is set."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


class OnTerminal:
    """A command whose stderr is a terminal; `shown` is all that was written there."""

    def __init__(self, cli: CommandLine, *arguments: str, stdout: int = subprocess.DEVNULL) -> None:
        self.shown = b""
        self._terminal, stderr = pty.openpty()
        self.process = subprocess.Popen(
            [cli.program, *arguments],
            stdin=subprocess.PIPE,
            stdout=stdout,
            stderr=stderr,
            env=cli.environment,
        )
        os.close(stderr)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def close(self) -> None:
        """Kill the command if it runs, and close the terminal."""
        self.process.kill()
        self.process.communicate()
        self._reader.join()
        os.close(self._terminal)

    def write(self, data: bytes) -> None:
        """Write to the command's stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def end(self) -> int:
        """Close stdin, and return the exit status and when all is read."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(60)
        self._reader.join(60)
        return status

    def _read(self) -> None:
        while True:
            try:
                self.shown += os.read(self._terminal, 4096)
            except OSError:  # the command has ended
                return


def test_progress_is_shown_from_a_second_on_and_then_five_times_a_second(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, slave = pty.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as shown, os.fdopen(slave, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        monkeypatch.setattr(progress, "time", clock := ManualTime())
        line = Progress()
        for now in (0.0, 0.9, 1.0, 1.1, 1.2, 1.3):
            clock.now = now
            line.show(lambda: f"{clock.now:g} s")
        line.clear()
        written = b""
        while not written.endswith(b"\x1b[K" + ERASED):
            written += shown.read(4096)
    assert written == b"\r1 s\x1b[K\r1.2 s\x1b[K" + ERASED


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        ("read {stream}", "2 KiB read"),
        ("data copy file:{data} file:{to}", "3 KiB appended; [01] streams? copied or compared"),
        ("data backup {data} {to}", r"\d+ KiB of \d+ KiB copied"),
        ("data backup {data} {to}", "3 KiB verified"),
        ("data restore {backup} {to}", r"\d+ KiB of \d+ KiB copied"),
        ("data verify {data}", "3 KiB verified"),
    ],
    ids=["read", "copy", "backup", "backup, verified", "restore", "verify"],
)
async def test_progress_is_told_in_bytes(
    command: str, shown: str, text: Stream, cli: CommandLine, tmp_path: Path
) -> None:
    text.append(b"x" * 2048)
    data, backup = tmp_path / "data", tmp_path / "backup"
    async with opened(f"file:{data}") as log:
        await Service(log).create("a", b"y" * 3072)
        await Service(log).create("b", b"")
    cli.output("data", "backup", str(data), str(backup))
    places = {"stream": text.url, "data": data, "backup": backup, "to": tmp_path / "to"}
    written = at_once(cli, command.format_map(places), subprocess.DEVNULL)
    assert re.search(rf"\r{shown}\x1b\[K", written.decode())
    assert ERASED in written


@pytest.mark.usefixtures("processes")
def test_read_shows_no_progress_where_its_data_may_be_on_the_terminal(
    cli: CommandLine, text: Stream
) -> None:
    text.append(b"x" * 2048)
    reader, writer = os.pipe()  # as to a pager
    assert b"read" not in at_once(cli, f"read {text.url}", writer)
    os.close(writer)
    os.close(reader)


def at_once(cli: CommandLine, command: str, stdout: int) -> bytes:
    """Return what a command writes to a terminal that shows progress from its beginning on."""
    cli.program = sys.executable
    with closing(OnTerminal(cli, "-c", AT_ONCE, *command.split(), stdout=stdout)) as running:
        assert running.end() == 0
    return running.shown


@pytest.mark.usefixtures("processes")
def test_append_lines_shows_how_many_are_appended_and_clears_that_at_its_end(
    cli: CommandLine, text: Stream
) -> None:
    with closing(OnTerminal(cli, "append", text.name, "--lines")) as command:
        written = 0

        def is_shown() -> bool:
            nonlocal written
            command.write(b"a\n")
            written += 1
            return b" so far" in command.shown

        wait_until(is_shown, "progress is shown")
        assert command.end() == 0
    assert command.shown.startswith(b"\r")
    before, _, after = command.shown.rpartition(ERASED)
    assert b" so far\x1b[K" in before
    assert after.startswith(f"Appended {written} lines; next offset ".encode())
