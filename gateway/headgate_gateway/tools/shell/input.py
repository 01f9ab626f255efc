"""Input from stdin, as it arrives."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STDIN = 0
PIECE_BYTES = 1 << 16


async def pieces() -> AsyncIterator[bytes]:
    """Yield stdin in pieces until its end. The event loop goes on meanwhile, and Ctrl-C works."""
    while piece := await _read():
        yield piece


async def lines() -> AsyncIterator[bytes]:
    """Yield the lines of stdin with their line ends, each as soon as it is whole."""
    # Joined once for each line, so that a long one costs no copies.
    begun: list[bytes] = []
    async for piece in pieces():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            yield b"".join((*begun, end, b"\n"))
            begun = []
        begun.append(rest)
    if last := b"".join(begun):
        yield last


async def _read() -> bytes:
    # The parent process closed stdin: its number may be that of a connection by now.
    if sys.stdin is None:
        raise Failed("stdin is closed")
    # Not made non-blocking: a terminal would become so for the shell and for stdout too.
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    try:
        loop.add_reader(STDIN, readable.set)
    except PermissionError:
        # A regular file or /dev/null, which can always be read at once.
        return os.read(STDIN, PIECE_BYTES)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(STDIN)
    return os.read(STDIN, PIECE_BYTES)
