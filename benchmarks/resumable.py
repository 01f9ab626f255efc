"""Memory after 5 minutes of streams and readers: `python -m benchmarks.resumable`.

This library and npm's resumable-stream have the same load (tests/client/resumable/load.py) on the
same Redis, at the same time, each in a process of its own. The exit status is of ours alone:
whether it came to its end, and within the bound.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import click

from tests.client.resumable.stress import MOST_GROWTH_MB, OURS, load
from tests.support.processes import NODE
from tests.support.redis_servers import redis_server

NPM = (str(NODE), "--expose-gc", "tests/node/resumable_load.mjs")


async def load_of_npm(url: str, streams: int, seconds: float) -> dict[str, float]:
    """Return the figures of its load, none if it fails or does not end."""
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
    """Run both loads at the same time, on one Redis."""
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
