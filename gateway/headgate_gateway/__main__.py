"""The command line: `headgate serve`, and groups of commands for streams and operators."""

from __future__ import annotations

import click

from headgate_gateway import standard_streams
from headgate_gateway.commands.command_group import RootGroup, end_with_version


@click.group("", cls=RootGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=end_with_version,
    help="Print the version.",
)
def cli() -> None:
    """Serve Durable Streams: append-only logs with a URL."""


def main() -> None:
    """Run the command line."""
    standard_streams.prepare()
    cli(prog_name="headgate")


if __name__ == "__main__":
    main()
