"""The fuzzer: `python -m campaigns.fuzz front`, or `admin`, `headers`, `origin`, `parsers`."""

from __future__ import annotations

import asyncio
import secrets
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tests.fuzz.campaign import run
from tests.fuzz.parsers import PARSERS

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
    """Fuzz requests to a gateway with a log of its own, then to one before an HTTP origin."""
    _campaigns(("file", "http"), seconds, seed)


@main.command()
@seconds
@seed
def admin(seconds: float, seed: int | None) -> None:
    """Fuzz the admin listener, while the streams' listener is asked beside it."""
    _campaigns(("admin",), seconds, seed)


@main.command()
@seconds
@seed
def headers(seconds: float, seed: int | None) -> None:
    """Send hostile values of every header field that is read, to every kind of route and page."""
    _campaigns(("headers",), seconds, seed)


@main.command()
@seconds
@seed
def origin(seconds: float, seed: int | None) -> None:
    """Fuzz the answers of an HTTP origin, while readers and writers ask for them."""
    _campaigns(("spoilt",), seconds, seed)


@main.command()
@seconds
@seed
def parsers(seconds: float, seed: int | None) -> None:
    """Fuzz the parsers of what others send, in turn, by bytes that reach new code.

    What has reached new code is kept in test-failures/corpus, and the next run begins with it.
    """
    if find_spec("atheris") is None:
        click.echo("parsers were left out: there is no atheris for this machine")
        return
    chosen = secrets.randbits(32) if seed is None else seed
    click.echo(f"--seed {chosen}")
    each = max(1, round(seconds / len(PARSERS)))
    failed = [name for name in PARSERS if not _is_fuzzed(name, each, chosen)]
    raise SystemExit(f"FOUND by the parsers of {', '.join(failed)}" if failed else 0)


def _is_fuzzed(name: str, seconds: int, seed: int) -> bool:
    """Return whether a parser withstood it. What it did not is in a file that libFuzzer names."""
    FOLDER.mkdir(exist_ok=True)
    options = (
        *(f"-max_total_time={seconds}", f"-seed={seed or 1}", "-max_len=4096", "-timeout=10"),
        *(f"-artifact_prefix={FOLDER}/{name}-", "-print_final_stats=1", "-verbosity=0"),
    )
    command = [sys.executable, "-m", "campaigns.fuzz.guided", name, str(FOLDER / "corpus" / name)]
    click.echo(f"{name}, {seconds} s")
    return subprocess.run([*command, *options], check=False).returncode == 0


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
