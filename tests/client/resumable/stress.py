"""`python -m tests.client.resumable.stress`: memory after 5 minutes of streams and readers.

This library and npm's resumable-stream have the same load (load.py) on the same Redis, at the same
time, each in a process of its own. Each is given a time that a busy machine needs, and ended after
it. The exit status is of ours alone: whether it came to its end, and within the bound.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import click

from tests.client.resumable.load import LATE_S
from tests.support.processes import NODE, ROOT
from tests.support.redis_servers import redis_server

MOST_GROWTH_MB = 5.0
BESIDES_S = 120.0  # to start and stop, and what is not in proportion to the time

OURS = (sys.executable, "-m", "tests.client.resumable.load")
NPM = (str(NODE), "--expose-gc", "tests/node/resumable_load.mjs")


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


async def load_of_npm(url: str, streams: int, seconds: float) -> dict[str, float]:
    """What its load tells; nothing if it fails, or does not end."""
    try:
        return await load(NPM, url, streams, seconds)
    except (AssertionError, TimeoutError) as error:
        click.echo(f"resumable-stream: {error or 'it does not end'}", err=True)
        return {}


ROWS = {
    "resident before, MB": "before_mb",
    "peak, MB": "most_mb",
    "resident after, MB": "after_mb",
    "streams": "streams",
    "readers that resumed": "resumed",
    "readers that left": "left",
    "readers that read to the end": "to the end",
    "readers that came too late": "too late",
    "errors": "errors",
    "readers without an end": "readers hung",
    "runs given up": "given up",
    "growth, MB": "growth_mb",
}


def table(ours: dict[str, float], npm: dict[str, float]) -> str:
    """Both, in Markdown."""
    lines = ["| | headgate | resumable-stream |", "|---|---|---|"]
    for heading, key in ROWS.items():
        theirs = f"{npm.get(key, 0):,.0f}" if npm else "did not end"
        lines.append(f"| {heading} | {ours.get(key, 0):,.0f} | {theirs} |")
    return "\n".join(lines)


async def side_by_side(streams: int, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    # By default Redis closes a connection that is read too slowly for 32 MB; not what this is of.
    unlimited = {"client_output_buffer_limit": "pubsub 0 0 0"}
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder), **unlimited) as redis:
        ours, npm = await asyncio.gather(
            load(OURS, redis.url, streams, seconds), load_of_npm(redis.url, streams, seconds)
        )
    return ours, npm


@click.command()
@click.option("--streams", default=100, show_default=True, help="At the same time.")
@click.option("--seconds", default=300.0, show_default=True)
def main(streams: int, seconds: float) -> None:
    """Print the table."""
    ours, npm = asyncio.run(side_by_side(streams, seconds))
    click.echo(table(ours, npm))
    sys.exit(0 if ours["growth_mb"] <= MOST_GROWTH_MB else 1)


if __name__ == "__main__":
    main()
