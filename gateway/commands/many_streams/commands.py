"""The commands on many streams, as the command line declares them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from gateway.commands.one_stream.admin_target import admin_of, admin_option, admin_token_option
from gateway.commands.one_stream.home import home_of, server_options

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.commands.one_stream.target import HomeServer, StreamTarget


@click.command("ls")
@click.argument("prefix", default="")
@admin_option
@admin_token_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@server_options
@click.pass_context
def list_streams(
    ctx: click.Context, prefix: str, admin: str | None, admin_token: Path | None, as_json: bool
) -> None:
    """List the streams whose names begin with PREFIX, or all.

    Each line has state, size in bytes, live readers, expiry and name, "-" where one is not known.
    The protocol has no such list: the server must be a Headgate, whose admin listener is asked.
    """
    home, target = _server(ctx, admin, admin_token)
    from gateway.commands.many_streams.ls import ls
    from gateway.commands.one_stream import operations

    operations.run(target, ls(target, home.base, prefix.lstrip("/"), as_json=as_json))


def _server(
    ctx: click.Context, admin: str | None, token_file: Path | None
) -> tuple[HomeServer, StreamTarget]:
    """Return the server that names mean, and its admin API."""
    try:
        home = home_of(os.environ, ctx)
        return home, admin_of(home, admin, token_file, ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause


COMMANDS = (list_streams,)
