"""The progress of a command: a line on the terminal that is written over and over."""

from __future__ import annotations

import contextlib
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

QUIET_S = 1.0  # a command that ends sooner shows no progress
EVERY_S = 0.2
TO_LINE_START, ERASE = "\r", "\x1b[K"


class Progress:
    """Progress on stderr, where that is a terminal, shown from QUIET_S on a few times a second."""

    def __init__(self, *, beside_data: bool = False) -> None:
        """Show nothing if the command prints data that may be on the terminal, `beside_data`."""
        self._is_seen = sys.stderr is not None and sys.stderr.isatty() and not beside_data
        self._next = time.monotonic() + QUIET_S
        self._is_shown = False

    def show(self, text: Callable[[], str]) -> None:
        """Show how far the command is, unless that was shown a moment ago."""
        if self._is_seen and (now := time.monotonic()) >= self._next:
            self._next = now + EVERY_S
            self._is_shown = True
            self._write(f"{TO_LINE_START}{text()}{ERASE}")

    def clear(self) -> None:
        """Clear the line, so that something else can be written there."""
        if self._is_shown:
            self._is_shown = False
            self._write(f"{TO_LINE_START}{ERASE}")

    @staticmethod
    def _write(text: str) -> None:
        with contextlib.suppress(OSError):  # a terminal that is gone misses nothing
            sys.stderr.write(text)
            sys.stderr.flush()
