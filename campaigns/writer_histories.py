"""Many random histories of a writer, each of which is read back.

python -m campaigns.writer_histories [--seeds 1000] [--first 0]
"""

from __future__ import annotations

import argparse
import asyncio

import click

from tests.client.histories import campaign


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description="Histories of a writer on a hostile way.")
    parser.add_argument("--seeds", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0)
    asked = parser.parse_args()
    written = asyncio.run(campaign(range(asked.first, asked.first + asked.seeds)))
    click.echo(f"{asked.seeds} histories, {written} chunks: each in order and once.")


if __name__ == "__main__":
    main()
