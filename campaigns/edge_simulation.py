"""Many seeds: `python -m campaigns.edge_simulation --first 0 --seeds 1000`."""

from __future__ import annotations

import os
import sys
import time

import click

from headgate_gateway.telemetry.logs import configure
from tests.edge.simulation.world import simulate


@click.command()
@click.option("--first", default=0, show_default=True)
@click.option("--seeds", default=1000, show_default=True)
@click.option("--seconds", default=3600.0, show_default=True, help="At most.")
def main(first: int, seeds: int, seconds: float) -> None:
    """Run them, and print what was wrong; the exit status tells whether anything was."""
    configure("error", "console")
    until = time.monotonic() + seconds
    answers, bad, done = 0, 0, 0
    for seed in range(first, first + seeds):
        if time.monotonic() > until:
            break
        try:
            judge = simulate(seed)
        except Exception as error:  # noqa: BLE001 - the other seeds are of interest, too
            click.echo(f"seed {seed}: {error!r} {error.__cause__!r}")
            bad += 1
            continue
        done += 1
        answers += judge.answers
        bad += bool(judge.wrong)
        for wrong in judge.wrong[:1]:
            click.echo(f"seed {seed}: {wrong}")
    click.echo(f"{done} seeds, {answers} answers, {bad} seeds with something wrong")
    raise SystemExit(bad > 0)


if __name__ == "__main__":
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of what happens
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "campaigns.edge_simulation", *sys.argv[1:]])
    main()
