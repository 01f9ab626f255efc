"""`python -m tests.client.resumable.stress`: memory after 5 minutes of streams and readers.

This library and npm's resumable-stream have the same load (load.py) on the same Redis, at the same
time, each in a process of its own. The exit status tells whether ours is within the bound.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path

import click

from tests.support.processes import NODE, ROOT
from tests.support.redis_servers import redis_server

MOST_GROWTH_MB = 5.0
BESIDES_S = 120.0  # the warm-up, and the ends of both parts, on a busy machine

OURS = (sys.executable, "-m", "tests.client.resumable.load")
NPM = (str(NODE), "--expose-gc", "tests/node/resumable_load.mjs")


async def load(
    command: tuple[str, ...], url: str, streams: int, seconds: float
) -> dict[str, float]:
    """What the load tells at its end. Raises AssertionError if it fails, or does not end."""
    process = await asyncio.create_subprocess_exec(
        *command, url, str(streams), str(seconds), stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    try:
        async with asyncio.timeout(2 * seconds + BESIDES_S):
            told, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, f"{command} ended with {process.returncode}"
    figures: dict[str, float] = json.loads(told)
    click.echo(told, err=True)
    return figures


ROWS = {
    "resident before, MB": "before_mb",
    "most, MB": "most_mb",
    "resident after, MB": "after_mb",
    "streams": "streams",
    "readers that resumed": "resumed",
    "that left": "left",
    "that read to the end": "to the end",
    "too late for the stream": "too late",
    "errors": "errors",
    "readers without an end": "readers hung",
}


def table(ours: dict[str, float], npm: dict[str, float]) -> str:
    """Both, in Markdown."""
    lines = ["| | headgate | resumable-stream |", "|---|---|---|"]
    for told in (ours, npm):
        told["growth_mb"] = told["after_mb"] - told["before_mb"]
    for heading, key in {**ROWS, "growth, MB": "growth_mb"}.items():
        lines.append(f"| {heading} | {ours.get(key, 0):,.0f} | {npm.get(key, 0):,.0f} |")
    return "\n".join(lines)


async def side_by_side(streams: int, seconds: float) -> tuple[dict[str, float], dict[str, float]]:
    # Redis would close a connection that is read too slowly for its 32 MB: npm's does not recover.
    unlimited = {"client_output_buffer_limit": "pubsub 0 0 0"}
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder), **unlimited) as redis:
        ours, npm = await asyncio.gather(
            load(OURS, redis.url, streams, seconds), load(NPM, redis.url, streams, seconds)
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
