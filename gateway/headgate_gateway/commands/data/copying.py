"""`headgate data copy`, as the command line declares it."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate_gateway.commands.options.server import (
    admin_of,
    admin_options,
    cacert_option,
    running_at,
    server_of,
    target_of,
)
from headgate_gateway.text_files import text_of
from headgate_gateway.tools.server.target import (
    StreamTarget,
    TargetServer,
    checked_base,
    is_whole_url,
)
from headgate_gateway.tools.shell.exit_status import CONFLICT

if TYPE_CHECKING:
    from headgate_gateway.tools.copying.log_place import LogPlace


@click.command()
@click.argument("source", metavar="FROM")
@click.argument("to", metavar="TO")
@click.option(
    "--prefix", metavar="TEXT", default="", help="Copy only streams whose names begin with this."
)
@click.option(
    "--names",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    metavar="FILE",
    help="Copy only the streams named in this file, one a line; - reads stdin.",
)
@admin_options
@cacert_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def copy(
    ctx: click.Context,
    source: str,
    to: str,
    prefix: str,
    names: Path | None,
    as_json: bool,
) -> None:
    """Copy streams to a data folder or a Redis.

    TO is file:PATH or a redis:// URL. FROM is one of these, or the URL below which a server has its
    streams, such as http://127.0.0.1:4437/v1/stream. @FILE is a file with one of these. No server
    may have a file:PATH open. You can stop the command at any moment and run it again: it
    continues, and stores nothing twice.
    """
    from headgate_gateway.commands.running import run
    from headgate_gateway.telemetry import logs
    from headgate_gateway.tools.copying import operation

    source, to = _place_of("FROM", source), _place_of("TO", to)
    server = _server(ctx, source) if is_whole_url(source) else None
    origin = server or _log("FROM", source)
    target = _log("TO", to)
    if not isinstance(origin, StreamTarget) and origin.places & target.places:
        raise click.UsageError("FROM and TO are the same place.")
    if not isinstance(origin, StreamTarget):
        try:
            origin.check_there()
        except ValueError as cause:
            raise click.UsageError(f"FROM: {cause}.") from cause
    api = None
    if server is not None and names is None:
        api = _admin(ctx, source)
    # What a log warns of goes to stderr; what ends the command, it says itself.
    logs.configure("warning", "console", unwritten_events={"log.failed"})
    request = operation.CopyRequest(origin, target, api, prefix, names, as_json)
    if run(server, operation.copy(request)):
        sys.exit(CONFLICT)


def _log(argument: str, text: str) -> LogPlace:
    """Return the log of an argument. Raises UsageError if there is none."""
    from headgate_gateway.tools.copying.log_place import LogPlace

    servers = ", or the URL below which a server has its streams" if argument == "FROM" else ""
    try:
        return LogPlace(text, servers)
    except ValueError as cause:
        raise click.UsageError(f"{argument}: {cause}.") from cause


def _server(ctx: click.Context, text: str) -> StreamTarget:
    """Return the base URL of FROM. Raises UsageError."""
    try:
        base = checked_base(text, "it")
        return replace(target_of(f"{base}/any", ctx), url=base)
    except ValueError as cause:
        raise click.UsageError(f"FROM: {cause}.") from cause


def _place_of(argument: str, text: str) -> str:
    """Return the place of an argument, which may be written in a file. Raises UsageError."""
    if not text.startswith("@"):
        return text
    path = Path(text[1:])
    try:
        return text_of(path)
    except (OSError, ValueError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else f"it {cause}"
        raise click.UsageError(f"{argument}: {path} cannot be read: {reason}.") from cause


def _admin(ctx: click.Context, base: str) -> StreamTarget:
    """Return the admin API by which the streams of FROM are listed. Raises UsageError."""
    base = checked_base(base, "FROM")
    try:
        server = server_of(ctx, needs_base=False)
        if server.base.rstrip("/") != base:
            server = running_at(TargetServer(base))
        return admin_of(server, ctx)
    except ValueError as cause:
        raise click.UsageError(
            f"{cause}, if FROM is a Headgate: it lists its streams there; for any other server "
            "give their names by --names."
        ) from cause
