"""The console sessions of pages, typed into a terminal as they are printed."""

from __future__ import annotations

import contextlib
import os
import pty
import queue
import re
import signal
import subprocess
import termios
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Self

FENCE = "```"
TYPED = re.compile(r"(\w*)\$ (.*)")
CUT = "…"  # for what a page leaves out, of a line or of several
CTRL_C = "\x03"
UNTIL = "# Ctrl-C"  # after a command that goes on until then
# A bash at a terminal, as a reader has it, but for its prompts and the echo.
BASH = (
    *("setsid", "--ctty", "env", "--default-signal"),
    *("bash", "--noprofile", "--norc", "--noediting", "-i"),
)
QUIET = {"PS1": "", "PS2": "", "TERM": "dumb", "HISTFILE": ""}
PATIENCE_S = 20.0


class PageDiffers(Exception):
    """A command of a page does something else than the page says."""


class Step(NamedTuple):
    """A command, the lines that are printed under it, its terminal, and its line of the page."""

    command: str
    printed: list[str]
    terminal: str
    line: int


def sessions(text: str) -> list[list[Step]]:
    """Return the console blocks of a page."""
    found: list[list[Step]] = []
    fence = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(FENCE):
            fence = "" if fence else line
            found += [[]] if fence == f"{FENCE}console" else []
        elif fence == f"{FENCE}console":
            if (typed := TYPED.match(line)) is not None:
                found[-1].append(Step(typed[2], [], typed[1], number))
            elif line and not line.lstrip().startswith("#"):  # a comment that goes on
                found[-1][-1].printed.append(line)
    return found


class Terminal:
    """A terminal with a bash in it, and what it has shown since its last command began."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        *,
        command_s: float = PATIENCE_S,
        shown_s: float = PATIENCE_S,
    ) -> None:
        """Open it; a command may take so long, and what runs in the background shows it so soon."""
        self._command_s = command_s
        self._shown_s = shown_s
        self._screen, keyboard = pty.openpty()
        modes = termios.tcgetattr(keyboard)
        modes[3] &= ~termios.ECHO
        termios.tcsetattr(keyboard, termios.TCSANOW, modes)
        self._bash = subprocess.Popen(  # noqa: S603 - a shell, as a page asks for it
            BASH,
            cwd=folder,
            env=environment | QUIET,
            stdin=keyboard,
            stdout=keyboard,
            stderr=keyboard,
        )
        os.close(keyboard)
        self._arrived: queue.Queue[bytes] = queue.Queue()
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()
        self._received = b""

    def _receive(self) -> None:
        with contextlib.suppress(OSError):  # all that had it open are gone
            while part := os.read(self._screen, 1 << 16):
                self._arrived.put(part)

    @property
    def shown(self) -> str:
        """What it has shown since its last command began."""
        return self._received.decode(errors="replace").replace("\r\n", "\n")

    def begin(self, command: str) -> None:
        """Type a command."""
        self._received = b""
        self._press(f"{command}\n")

    def run(self, command: str) -> tuple[int, str]:
        """Type a command, and wait for its exit status and output."""
        self.begin(command)
        return self._end()

    def until(self, pattern: str, patience_s: float | None = None) -> str:
        """Return what is shown, as soon as it has this in it."""
        deadline = time.monotonic() + (patience_s or self._shown_s)
        while re.search(pattern, self.shown) is None:
            try:
                self._received += self._arrived.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"no {pattern!r} in {self.shown!r}") from None
        return self.shown

    def play(self, step: Step, here: Callable[[str], str] = str) -> None:
        """Do what a page says, and see that it prints these lines in this order.

        Others may stand between them: programs in the background print when they like. `here`
        puts the addresses of this machine into a text.
        """
        expected = here("\n".join(step.printed))
        lines = (re.escape(line.strip()) for line in expected.splitlines())
        pattern = f"(?s){'.*'.join(lines).replace(CUT, '.*')}"
        self.begin(here(step.command))
        status = None
        try:
            if UNTIL in step.command:
                self.until(pattern)
                self._press(CTRL_C)
            status, _ = self._end()
            if status == 0:
                self.until(pattern)
                return
        except TimeoutError:
            pass
        raise PageDiffers(
            f"line {step.line}: {step.command}\nprints on the page:\n{expected or '(nothing)'}\n"
            f"and here, with exit status {'(it goes on)' if status is None else status}:\n"
            f"{self.shown}"
        )

    def _press(self, keys: str) -> None:
        os.write(self._screen, keys.encode())

    def _end(self) -> tuple[int, str]:
        """Wait for the end of the command, and return its exit status and output."""
        self._press("printf '\\0%d\\0' $?\n")
        before, status, after = self.until(r"\0\d+\0", self._command_s).split("\0")
        self._received = (before + after).encode()  # programs in the background go on
        return int(status), before

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._bash.kill()
        for entry in Path("/proc").iterdir():  # whatever still runs in it goes too
            with contextlib.suppress(ValueError, ProcessLookupError, PermissionError):
                if os.getsid(number := int(entry.name)) == self._bash.pid:
                    os.kill(number, signal.SIGKILL)
        self._bash.wait()
        self._thread.join()
        os.close(self._screen)
