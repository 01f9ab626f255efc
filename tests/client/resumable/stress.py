"""The load of load.py in a process of its own: how much its memory grows.

The process has the time that a busy machine needs, and is ended after it.
"""

from __future__ import annotations

import asyncio
import json
import sys

import click

from tests.client.resumable.load import LATE_S
from tests.support.processes import ROOT

MOST_GROWTH_MB = 5.0
BESIDES_S = 120.0  # to start and stop, and what is not in proportion to the time

OURS = (sys.executable, "-m", "tests.client.resumable.load")


async def load(
    command: tuple[str, ...], url: str, streams: int, seconds: float, *more: float
) -> dict[str, float]:
    """What the load tells at its end. Raises AssertionError if it fails, or does not end."""
    process = await asyncio.create_subprocess_exec(
        *command,
        url,
        *map(str, (streams, seconds, *more)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
    )
    try:
        async with asyncio.timeout(1.5 * seconds + 2 * LATE_S + BESIDES_S):  # two runs
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    figures: dict[str, float] = json.loads(told)
    figures["growth_mb"] = figures["after_mb"] - figures["before_mb"]
    click.echo(told, err=True)
    return figures
