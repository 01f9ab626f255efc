"""Output: data goes to stdout and nothing else does; words about it go to stderr."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import stat
import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import is_json, json_messages
from headgate_gateway.tools.shell.colour import bold, is_terminal
from headgate_gateway.tools.shell.failure import Failed, OutputClosed
from headgate_gateway.tools.shell.system_errors import discard_output
from headgate_gateway.tools.shell.terminal import safe

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping


REPORT_WIDTH = 100  # columns, or as many as a narrower terminal has


@dataclass(slots=True)
class _Printed:
    """The state of the output so far."""

    is_mid_line: bool = False


_printed = _Printed()


def write(data: bytes) -> None:
    """Write to stdout without buffering, since the reader of a pipe waits for the data."""
    if data:
        _printed.is_mid_line = not data.endswith(b"\n")
    write_escapes(data)


def write_escapes(data: bytes) -> None:
    """Write what draws on a terminal, and after which its line is as it was before."""
    output = _descriptor()
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[os.write(output, rest) :]
    except BrokenPipeError as cause:
        raise OutputClosed from cause
    except OSError as cause:
        raise Failed(f"stdout cannot be written: {cause.strerror}") from cause


def report(text: str, paint: Callable[[str], str] = str) -> None:
    """Write a whole report; ignore that the reader of the pipe has closed it.

    The command then ends with its own exit status, which says more than the closed pipe. `paint`
    gives each line its colours.
    """
    with contextlib.suppress(OutputClosed):
        write("\n".join(map(paint, safe(text).split("\n"))).encode())


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


@contextlib.contextmanager
def echoed() -> Iterator[None]:
    """End the block quietly when the reader of stdout has closed the pipe."""
    try:
        yield
    except BrokenPipeError:
        discard_output()


def note(sentence: str) -> None:
    """Write a sentence to stderr, on a line of its own."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            if _printed.is_mid_line and sys.stderr.isatty() and may_be_seen():
                _printed.is_mid_line = False
                sentence = f"\n{sentence}"
            print(safe(sentence), file=sys.stderr, flush=True)  # noqa: T201 - the command line speaks


def finish(sentence: str, result: Mapping[str, object] | None) -> None:
    """Say what a command has done, or print it as a JSON object where there is a `result`."""
    if result is None:
        note(sentence)
    else:
        write(json.dumps(result).encode() + b"\n")


def end_line() -> None:
    """End a line that the data began, for the shell's prompt; anywhere else data stays exact."""
    if _printed.is_mid_line and is_terminal():
        write(b"\n")


def line_form(aligned: str) -> str:
    """Return the format of lines: aligned on a terminal, and otherwise with tabs between values."""
    if is_terminal():
        return aligned
    return "\t".join(["{}"] * aligned.count("{")) + "\n"


def heading(aligned: str, *names: str) -> None:
    """Write the names of columns above a table, where `line_form` aligns them."""
    if is_terminal():
        write(f"{bold(aligned.format(*names).rstrip())}\n".encode())


def may_be_seen() -> bool:
    """Return whether the data may appear on the same terminal: directly, or at a pipe's end."""
    if sys.stdout is None:
        return False
    return sys.stdout.isatty() or stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)


def _descriptor() -> int:
    # The parent process closed stdout: its number may be that of a connection by now.
    if sys.stdout is None:
        raise Failed("stdout is closed")
    return sys.stdout.fileno()


def wants_lines(content_type: str, *, as_lines: bool | None) -> bool:
    """Return whether messages are printed one a line; by default those of JSON streams are."""
    if as_lines and not is_json(content_type):
        raise Failed(f"the stream is {content_type}, so it has no JSON messages to print")
    return is_json(content_type) if as_lines is None else as_lines


def lines(body: bytes) -> bytes:
    """Return the messages of a JSON body, one a line, numbers and strings as they were sent."""
    try:
        messages = json_messages(body)
    except BadRequest as cause:
        raise Failed(f"the server sent what is no JSON: {cause.detail}") from cause
    return b"".join(msgspec.json.format(message, indent=-1) + b"\n" for message in messages)


@contextlib.contextmanager
def cancelled_when_closed() -> Iterator[None]:
    """End the block when the reader of the pipe goes away, even while nothing is written."""
    output = _descriptor()
    if not stat.S_ISFIFO(os.fstat(output).st_mode):
        yield
        return
    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    closed = False

    def close() -> None:
        nonlocal closed
        closed = True
        loop.remove_reader(output)
        if task is not None:
            task.cancel()

    # The writing end of a pipe is never readable; it only reports that the other end is gone.
    loop.add_reader(output, close)
    try:
        yield
    except asyncio.CancelledError as cause:
        if closed:
            raise OutputClosed from cause
        raise
    finally:
        loop.remove_reader(output)
