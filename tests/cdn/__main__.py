"""`python -m tests.cdn table` measures everything, which takes minutes, and writes the page."""

from __future__ import annotations

import asyncio

import click

from tests.cdn.table import PAGE, away, page


@click.group()
def main() -> None:
    """What CDNs do with the configurations, measured."""


@main.command()
def table() -> None:
    """Write docs/cdn/measured.md."""
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(asyncio.run(page()))
    click.echo(f"{PAGE} is written")


@main.command()
def outages() -> None:
    """Print what readers see of a gateway that is away: two minutes."""
    click.echo(asyncio.run(away()))


if __name__ == "__main__":
    main()
