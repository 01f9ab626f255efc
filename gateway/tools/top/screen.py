"""The terminal of `headgate top`: frames that are drawn over each other until q or Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import termios
import tty
from typing import TYPE_CHECKING

from gateway.tools.server.client import connect
from gateway.tools.shell.output import write, write_escapes
from gateway.tools.shell.terminal import safe
from gateway.tools.top.frame import USUAL_ROWS, USUAL_WIDTH, get_frame

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.tools.server.target import StreamTarget

STDIN = 0
# The other screen of the terminal, which leaves its contents and history as they are.
ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
TO_TOP, ERASE_LINE, ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


async def watch(target: StreamTarget, interval_s: float, *, once: bool) -> None:
    """Show a frame, and unless `once` another after each interval. Raises Failed."""
    is_drawn = not once and sys.stdout is not None and sys.stdout.isatty()
    async with connect(target) as admin:
        frame = await get_frame(admin, USUAL_ROWS)  # before the screen is cleared: it may fail
        with _screen() if is_drawn else contextlib.nullcontext(asyncio.Event()) as ended:
            while True:
                size = shutil.get_terminal_size((USUAL_WIDTH, USUAL_ROWS))
                lines = [safe(line) for line in frame.lines(size.lines, size.columns)]
                if is_drawn:
                    write_escapes(_drawn(lines))
                else:
                    write("\n".join([*lines, "", ""]).encode())
                with contextlib.suppress(TimeoutError):
                    if once or await asyncio.wait_for(ended.wait(), interval_s):
                        return
                frame = await get_frame(admin, size.lines)


def _drawn(lines: list[str]) -> bytes:
    """Return a frame that is drawn over the one before, without a flash."""
    text = f"{ERASE_LINE}\r\n".join(lines)
    return f"{TO_TOP}{text}{ERASE_LINE}{ERASE_BELOW}".encode()


@contextlib.contextmanager
def _screen() -> Iterator[asyncio.Event]:
    """Show the other screen within the block; yield an event that is set by the key q."""
    ended = asyncio.Event()
    with _keys(ended):
        write_escapes(ENTER)
        try:
            yield ended
        finally:
            write_escapes(LEAVE)


@contextlib.contextmanager
def _keys(ended: asyncio.Event) -> Iterator[None]:
    """Set `ended` once q is pressed; a terminal gives keys at once within the block."""
    if not os.isatty(STDIN):
        yield
        return
    before = termios.tcgetattr(STDIN)
    loop = asyncio.get_running_loop()

    def press() -> None:
        if b"q" in os.read(STDIN, 64).lower():
            ended.set()

    tty.setcbreak(STDIN)
    loop.add_reader(STDIN, press)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    try:
        yield
    finally:
        loop.remove_reader(STDIN)
        loop.remove_signal_handler(signal.SIGTERM)
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
