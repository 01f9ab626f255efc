"""Each campaign of `make torture` or `make soak`: `python -m campaigns soak`."""

from __future__ import annotations

import shlex
import subprocess
import sys

import click

# Modules of this package, with their arguments. Together they take hours.
TORTURE = (
    "faults --kills 1000",
    "faults --memory",
    "faults --raises",
    "faults --slow-clients",
    "faults --own-writes 10000",
    "faults --redis-kills 200 --failovers 200",
    "replicas",
    "reloads",
    "drills build/drills",
    "front",
    "kept_space",
    "backups_under_load",
    "flipped_files",
    "copying",
    "edge viewers",
    "edge zipf",
    "edge histories",
    "cardinality",
    "principals",
    "redis_simulation --seeds 5000",
    "edge_simulation --seeds 5000 --seconds 1800",
    "runs",
    "chunk_fuzz",
    "chat_histories",
    "tabs",
    "model_histories --seconds 300",
)
# The fuzzers take options, such as `--seconds 600 --seed 1`; without them each takes an hour.
FUZZ = ("fuzz front", "fuzz admin", "fuzz headers", "fuzz origin", "fuzz parsers")
SOAK = ("edge identities", "writer_histories --seeds 10000")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("which", type=click.Choice(["torture", "soak"]))
@click.argument("fuzz_options", nargs=-1, type=click.UNPROCESSED)
def main(which: str, fuzz_options: tuple[str, ...]) -> None:
    """Run each campaign, also after one has found something, and list those that did."""
    campaigns = [shlex.split(one) for one in (TORTURE if which == "torture" else SOAK)]
    if which == "soak":
        campaigns = [[*shlex.split(one), *fuzz_options] for one in FUZZ] + campaigns
    failed = []
    for module, *arguments in campaigns:
        command = [sys.executable, "-m", f"campaigns.{module}", *arguments]
        click.echo(f"$ {shlex.join(command)}", err=True)
        if subprocess.run(command, check=False).returncode:
            failed.append(shlex.join([module, *arguments]))
    if failed:
        sys.exit(f"These campaigns found something: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
