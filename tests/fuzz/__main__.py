"""The fuzzer: `python -m tests.fuzz front`, `python -m tests.fuzz origin`."""

from __future__ import annotations

import asyncio
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.fuzz.campaign import run

if TYPE_CHECKING:
    from tests.fuzz.campaign import Kind

FOLDER = Path("test-failures")
HOUR = 3600.0


@click.group()
def main() -> None:
    """Send what nobody should to a real gateway; the exit status tells whether it bore it."""


seconds = click.option("--seconds", default=HOUR, show_default=True, help="Of each campaign.")
seed = click.option("--seed", type=int, help="By chance, and printed, unless given.")


@main.command()
@seconds
@seed
def front(seconds: float, seed: int | None) -> None:
    """Requests: to a gateway with a log of its own, then to one before an HTTP origin."""
    _campaigns(("file", "http"), seconds, seed)


@main.command()
@seconds
@seed
def origin(seconds: float, seed: int | None) -> None:
    """Answers of an HTTP origin, while readers and writers ask for them."""
    _campaigns(("spoilt",), seconds, seed)


def _campaigns(kinds: tuple[Kind, ...], seconds: float, seed: int | None) -> None:
    chosen = secrets.randbits(32) if seed is None else seed
    click.echo(f"--seed {chosen}")
    accounts = []
    for kind in kinds:
        accounts.append(asyncio.run(run(kind, seconds, chosen, FOLDER)))
        click.echo(str(accounts[-1]))
    raise SystemExit(any(account.findings for account in accounts))


if __name__ == "__main__":
    main()
