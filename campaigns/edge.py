"""The long runs: `python -m campaigns.edge viewers`, `zipf`, `identities` or `histories`."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path
from typing import get_args

import click

from tests.edge import zipf as popularity
from tests.edge.audience import Show, Style, Tools, perform, perform_from_now
from tests.edge.gateways import PREFIX, edge
from tests.edge.histories import ELECTRIC, KINDS, play
from tests.edge.identities.campaign import PAUSES_S, mixed_reads
from tests.support.origin_servers import LONG_POLL_S, own_log, reference

START = 10
FROM_NOW: tuple[Style, ...] = ("poll", "sse")
AT_TAIL = 50  # messages to those who began there
LIVE_STYLES = tuple(style for style in get_args(Style) if style != "catch-up")


@click.group()
def main() -> None:
    """Run what takes too long for every change; the exit status tells whether it held."""


@main.command()
@click.option("--viewers", default=5000, show_default=True)
@click.option("--seconds", default=60, show_default=True)
@click.option("--per-second", default=10, show_default=True, help="Messages.")
def viewers(viewers: int, seconds: int, per_second: int) -> None:
    """Count what thousands of viewers cost the origin; each compares every byte."""
    cached = True
    with tempfile.TemporaryDirectory(prefix="headgate-edge-") as folder, reference() as origin:
        tools = Tools(Path(folder))
        for style in LIVE_STYLES:
            show = Show(style, viewers, viewers // 10, seconds * per_second, 1 / per_second)
            before = origin.counts()
            with edge(origin.url) as gateway:
                took = perform(tools, show, origin.port, gateway.port, f"{PREFIX}/{style}")
                memory = gateway.resident_bytes() >> 20
            asked = origin.counts() - before
            most = show.messages + int(took / LONG_POLL_S) + START
            click.echo(f"{style}: {show.messages} messages, {took:.1f} s, {memory} MiB, {asked}")
            click.echo(f"{style}: {asked.reads} reads at the origin, of {most} at most")
            cached &= asked.reads <= most
        for style in FROM_NOW:
            show = Show(style, viewers, 0, AT_TAIL, 1 / per_second)
            with edge(origin.url) as gateway:
                coming, asked = perform_from_now(tools, show, origin, gateway)
            most = show.messages + START
            click.echo(f"{style} from now: {coming.reads} reads at the origin while all came")
            click.echo(f"{style} from now: {asked.reads} reads in all, of {most} at most")
            cached &= asked.reads <= most
    sys.exit(0 if cached else 1)


@main.command()
@click.option("--reads", default=200_000, show_default=True)
def zipf(reads: int) -> None:
    """Print the hit ratios of a cache that holds a tenth of 2,000 streams."""
    cached = True
    for exponent in (0.8, 1.0, 1.2):
        crowd = popularity.Crowd(streams=2000, reads=reads, exponent=exponent)
        with own_log() as origin:
            popularity.write(origin.port, crowd)
            cache = {"HEADGATE_LIMITS__CACHE_SIZE": str(crowd.cache_bytes)}
            with edge(origin.url, environment=cache) as gateway:
                ratios = popularity.read(gateway.port, crowd)
        click.echo(f"exponent {exponent}: {ratios.all:.1%} of all, {ratios.top:.1%} of the top 100")
        cached &= exponent < 1 or ratios.top >= 0.95
    sys.exit(0 if cached else 1)


@main.command()
@click.option("--reads", default=1_000_000, show_default=True)
@click.option("--people", default=50, show_default=True)
@click.option("--seed", default=1, show_default=True)
@click.option("--pauses", default=PAUSES_S, show_default=True, help="Seconds between two, at most.")
def identities(reads: int, people: int, seed: int, pauses: float) -> None:
    """Mix the reads of people who have nothing in common, and look for one in another's answer."""
    count = mixed_reads(reads, people, seed, pauses)
    click.echo(str(count))
    for wrong in count.wrong[:10]:
        click.echo(wrong)
    if count.missing:
        click.echo(f"did not happen, so nothing is shown of it: {', '.join(count.missing)}")
    sys.exit(1 if count.wrong or count.missing else 0)


@main.command()
@click.option("--restores", default=200, show_default=True, help="Of each kind of origin.")
@click.option("--seed", default=1, show_default=True)
@click.option(
    "--kind", "kinds", type=click.Choice((*KINDS, ELECTRIC)), multiple=True, default=KINDS
)
@click.option("--electric", default="", help="The program of Electric's server, for that kind.")
def histories(restores: int, seed: int, kinds: tuple[str, ...], electric: str) -> None:
    """Let origins lose their end, and look for contents that never existed."""
    is_right = True
    if ELECTRIC in kinds and not electric:
        raise click.UsageError("--kind electric needs --electric PROGRAM")
    for kind in kinds:
        findings = asyncio.run(play(kind, restores, seed, electric))
        click.echo(f"{kind}: {findings}")
        for wrong in findings.wrong[:3]:
            click.echo(wrong)
        is_right &= not findings.wrong
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
