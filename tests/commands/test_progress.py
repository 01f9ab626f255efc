"""What a command that lasts shows on a terminal, and what it leaves there."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.tools.shell import progress
from headgate_gateway.tools.shell.progress import Progress
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from tests.commands.conftest import CommandLine, Stream

ERASED = b"\r\x1b[K"


class ManualTime:
    """A clock in seconds that stands still until `now` is set."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


class OnTerminal:
    """A command whose stderr is a terminal; `shown` is all that was written there."""

    def __init__(self, cli: CommandLine, *arguments: str) -> None:
        self.shown = b""
        self._terminal, stderr = pty.openpty()
        self.process = subprocess.Popen(
            [cli.program, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
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
