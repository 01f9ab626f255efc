"""`headgate top`: a live screen with the loudest streams and clients of a server, and refusals."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import termios
import tty
from itertools import islice
from typing import TYPE_CHECKING

import click
import msgspec

from headgate_admin.model.overview import Overview
from headgate_admin.pages import show
from headgate_gateway.commands.options.parameters import DurationType
from headgate_gateway.commands.options.server import on_admin_listener
from headgate_gateway.commands.running import run
from headgate_gateway.commands.status import (
    HEADING,
    LOUDEST,
    attention,
    client_loads,
    painted_line,
    stream_loads,
    title,
)
from headgate_gateway.features.questions.loudest import LoudestList
from headgate_gateway.tools.server.admin_requests import admin_value
from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.shell.amounts import counted
from headgate_gateway.tools.shell.output import write, write_escapes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate.stream_requests import StreamRequests
    from headgate_gateway.tools.server.target import StreamTarget

USUAL_SIZE = 100, 40  # of a frame that is not for a terminal
MOST_REFUSALS = MOST_ATTENTION = FEWEST_STREAMS = 5  # lines
STDIN = 0
# The other screen of the terminal, which leaves its contents and history as they are.
ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"
TO_TOP, ERASE_LINE, ERASE_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"


@click.command()
@click.option(
    "--interval",
    type=DurationType(0.5, 3600),
    default=2.0,
    metavar="DURATION",
    help="Time between two frames.  [default: 2]",
)
@click.option("--once", is_flag=True, help="Print one frame, and end.")
@on_admin_listener
def top(interval: float, once: bool, target: StreamTarget) -> None:
    """Watch the streams and clients of the largest load, live readers and refusals.

    On a terminal, the screen is drawn again after each interval; q or Ctrl-C ends it. Otherwise
    frames are printed one below the other. The server must be a Headgate.
    """
    run(target, _watch(target, interval, once=once))


class _Cause(msgspec.Struct, frozen=True):
    route: str
    status: str
    count: int


class _Refusals(msgspec.Struct, frozen=True):
    causes: list[_Cause]

    def lines(self) -> Iterator[str]:
        if self.causes:
            yield from ("", "   REFUSED     STATUS  ROUTE, in 15 minutes")
        for it in self.causes[:MOST_REFUSALS]:
            yield f"{it.count:>10,} {it.status:>10}  {it.route}"


async def _frame(admin: StreamRequests) -> list[str]:
    """Return the figures of now in as many lines as the terminal has; streams give way first."""
    overview = await admin_value(admin, "api/v1/overview", {"span": "15m"}, Overview)
    loudest = await admin_value(admin, "api/v1/loudest", {}, LoudestList)
    refusals = await admin_value(admin, "api/v1/refusals", {"span": "15m"}, _Refusals)
    columns, rows = shutil.get_terminal_size(USUAL_SIZE)
    before = [*_head(overview)]
    after = [*islice(client_loads(loudest), HEADING + LOUDEST), *refusals.lines()]
    room = max(FEWEST_STREAMS, rows - len(before) - len(after))
    lines = (*before, *islice(stream_loads(loudest), room), *after)
    return [painted_line(_cut(show.visible(line), columns)) for line in lines][:rows]


def _cut(line: str, columns: int) -> str:
    return line if len(line) <= columns else f"{line[: columns - 1]}…"


def _head(it: Overview) -> Iterator[str]:
    yield f"{title(it)}  {show.clock(it.taken_at)} UTC"
    readers = ", ".join(f"{count:,} {name}" for name, count in it.readers.items())
    yield (
        f"{show.rate(it.requests.value)} requests, {show.rate(it.appends.value)} appends, "
        f"{counted(int(it.live_readers.value or 0), 'live reader')} ({readers}), "
        f"{show.percent(it.without_origin.value)} {it.served.lower()}"
    )
    yield from (f"! {line}" for line in islice(attention(it), MOST_ATTENTION))


async def _watch(target: StreamTarget, interval_s: float, *, once: bool) -> None:
    """Show a frame, and unless `once` another after each interval. Raises Failed."""
    is_drawn = not once and all(map(os.isatty, (STDIN, 1)))
    async with connect(target) as admin:
        frame = await _frame(admin)  # before the screen is cleared: it may fail
        with _screen() if is_drawn else contextlib.nullcontext(asyncio.Event()) as ended:
            while True:
                if is_drawn:
                    text = f"{ERASE_LINE}\r\n".join(frame)  # over the one before, without a flash
                    write_escapes(f"{TO_TOP}{text}{ERASE_LINE}{ERASE_BELOW}".encode())
                else:
                    write("\n".join([*frame, "", ""]).encode())
                with contextlib.suppress(TimeoutError):
                    if once or await asyncio.wait_for(ended.wait(), interval_s):
                        return
                frame = await _frame(admin)


@contextlib.contextmanager
def _screen() -> Iterator[asyncio.Event]:
    """Show the other screen within the block; yield an event that is set by the key q."""
    ended, loop = asyncio.Event(), asyncio.get_running_loop()
    before = termios.tcgetattr(STDIN)

    def press() -> None:
        if b"q" in os.read(STDIN, 64).lower():
            ended.set()

    tty.setcbreak(STDIN)  # keys come at once, and are not shown
    loop.add_reader(STDIN, press)
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    write_escapes(ENTER)
    try:
        yield ended
    finally:
        write_escapes(LEAVE)
        loop.remove_reader(STDIN)
        termios.tcsetattr(STDIN, termios.TCSADRAIN, before)
