"""Names of streams for the completion of a shell: up to 100 within two seconds, or none."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import signal
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.server import admin_of, server_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.tools.server.target import StreamTarget

MOST_NAMES = 100  # more do not fit a screen
LONGEST_S = 2.0  # somebody has pressed a key, and waits
# Shells insert a name as it is, and run what is typed then. Bash also ends words at : = and @.
PLAIN = re.compile(r"[\w.%+][\w.%+/-]*")


def complete_stream(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Return names of streams that begin so, which the server's admin listener lists.

    The list is empty if the server is away or slow, is not a Headgate, or has several routes, whose
    streams are named by their URLs. There is no message, since a shell has no place for one.
    """
    if incomplete and PLAIN.fullmatch(incomplete) is None:
        return []
    from headgate_gateway.tools.shell.failure import FAILURES

    with _ended_in_time(), contextlib.redirect_stderr(io.StringIO()):
        try:
            server = server_of(ctx, by_admin=True)
            if server.routes:
                return []
            return asyncio.run(_names(admin_of(server, ctx), incomplete))
        except (ValueError, OSError, click.ClickException, *FAILURES):
            return []


async def _names(admin: StreamTarget, beginning: str) -> list[str]:
    from headgate_gateway.tools.server.client import connect
    from headgate_gateway.tools.server.listing import NameSearch, streams_below

    names: list[str] = []
    async with connect(admin) as api:
        async for it in streams_below(api, admin.server.base, NameSearch(beginning)):
            if PLAIN.fullmatch(it.name):
                names.append(it.name)
            if len(names) == MOST_NAMES:
                break
    return names


@contextlib.contextmanager
def _ended_in_time() -> Iterator[None]:
    """End the process after LONGEST_S in the block, since the look-up of a host has no time limit.

    The look-up runs in a thread, for which the interpreter would wait.
    """
    before = signal.signal(signal.SIGALRM, lambda *_: os._exit(0))
    signal.setitimer(signal.ITIMER_REAL, LONGEST_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
