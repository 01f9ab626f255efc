"""Output: the report goes to stdout and nothing else does; words about it go to stderr."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Mapping

REPORT_WIDTH = 100  # columns, or as many as a narrower terminal has


def report(text: str, colours: Mapping[str, str]) -> bool:
    """Write a whole report to stdout. Say so and return False if that is impossible.

    Where the reader of the pipe has closed it, the exit status of the command says more. On a
    terminal, lines that begin with a word of `colours` have it in its colour.
    """
    # Where its parent has closed it, 1 may be the number of something else by now.
    stdout = -1 if sys.stdout is None else 1
    shown = safe(text)
    if _has_colour():
        begin = re.compile(rf"^({'|'.join(colours)})(?=  )", re.MULTILINE)
        shown = begin.sub(lambda word: click.style(word[0], colours[word[0]]), shown)
    rest = memoryview(shown.encode())
    try:
        while rest:
            rest = rest[os.write(stdout, rest) :]
    except BrokenPipeError:
        pass
    except OSError as cause:
        note(f"stdout cannot be written: {cause.strerror}.")
        return False
    return True


def _has_colour() -> bool:
    """Return whether stdout is a terminal whose user wants colour (https://no-color.org)."""
    wanted = not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return wanted and sys.stdout is not None and sys.stdout.isatty()


def note(sentence: str) -> None:
    """Write a sentence to stderr, on a line of its own, after the name of the command."""
    context = click.get_current_context(silent=True)
    name = "headgate-doctor" if context is None else context.find_root().info_name
    if sys.stderr is not None:  # its parent may have closed it
        with contextlib.suppress(OSError):
            print(safe(f"{name}: {sentence}"), file=sys.stderr, flush=True)  # noqa: T201 - the command speaks


def safe(text: str) -> str:
    """Return text in which nothing acts on a terminal: ESC is printed as JSON has it.

    JSON with such escapes in its strings is the same JSON.
    """
    return "".join(
        one if one.isprintable() or one in "\t\n" else json.dumps(one)[1:-1] for one in text
    )


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless it is 1."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def filled(text: str, first: str, margin: int) -> str:
    """Return a paragraph of a report, which begins with `first` in the margin."""
    return textwrap.fill(
        text,
        min(REPORT_WIDTH, shutil.get_terminal_size((REPORT_WIDTH, 0)).columns),
        initial_indent=f"{first:<{margin}}",
        subsequent_indent=" " * margin,
        break_long_words=False,
        break_on_hyphens=False,
    )
