"""`headgate debug`: what a report about a running server needs."""

from __future__ import annotations

import os
from pathlib import Path

import click

from gateway.commands.one_stream.admin_target import (
    admin_option,
    admin_token_option,
    server_and_admin,
)
from gateway.commands.one_stream.home import server_options


@click.group()
def debug() -> None:
    """Collect the data for a bug report about a running server."""


@debug.command("bundle")
@click.argument(
    "file", type=click.Path(dir_okay=False, path_type=Path), default="headgate-debug.tar.gz"
)
@admin_option
@admin_token_option
@server_options
@click.pass_context
def debug_bundle(
    ctx: click.Context, file: Path, admin: str | None, admin_token: Path | None
) -> None:
    """Write the data of a running server to an archive.

    The command takes ten seconds. The archive has settings without secrets, versions, metrics and
    figures of the console. For a server on this machine it also has limits, descriptors by kind,
    processor time by thread and the last log lines. It has no data of streams.
    """
    _, target = server_and_admin(ctx, admin, admin_token)
    from gateway.commands.debug_bundle.collecting import bundle
    from gateway.commands.one_stream.operations import run
    from gateway.process.running_servers import running_servers

    at = target.url.removesuffix("/api").rstrip("/")
    pids = [it.pid for it in running_servers(os.environ) if it.admin.rstrip("/") == at]
    run(target, bundle(target, pids[0] if len(pids) == 1 else None, file))
