"""Headings and colour where stdout is a terminal: files and pipes get what scripts expect."""

from __future__ import annotations

import os
import re
import sys

RED, GREEN, YELLOW, BOLD = "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[1m"
PLAIN = "\x1b[0m"
LEVELS = {"bad": RED, "error": RED, "warning": YELLOW, "good": GREEN, "ok": GREEN}
LEVEL_END = 10  # columns, in which a line about what needs attention has its level
_LEVEL = re.compile(rf"[ !]*({'|'.join(LEVELS)})\b")


def is_terminal() -> bool:
    """Return whether stdout is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def has_colour() -> bool:
    """Return whether stdout is a terminal whose user wants colour (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and is_terminal()


def bold(line: str) -> str:
    """Return a line in bold, where there is colour."""
    return f"{BOLD}{line}{PLAIN}" if has_colour() else line


def painted(line: str, begin: int = 0, end: int = LEVEL_END) -> str:
    """Return a line with its level in its colour, if it has one there and there is colour.

    Before the level there are only blanks or marks from `begin` on, and it ends before `end`: what
    is elsewhere is a word of a sentence.
    """
    found = _LEVEL.match(line, begin, end) if has_colour() else None
    if found is None:
        return line
    at = found.start(1)
    return f"{line[:at]}{LEVELS[found[1]]}{found[1]}{PLAIN}{line[found.end() :]}"
