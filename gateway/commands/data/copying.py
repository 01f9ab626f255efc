"""`headgate data copy`, as the command line declares it."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.commands.options.admin_target import admin_of, admin_option, admin_token_option
from gateway.commands.options.home import cacert_option, home_of, target_of, with_admin
from gateway.commands.options.typed_secrets import SecretFile
from gateway.settings.reached import BASE_VARIABLE
from gateway.tools.server.target import (
    AUTHORIZATION_VARIABLE,
    HomeServer,
    StreamTarget,
    checked_authorization,
    checked_base,
    is_whole_url,
)
from gateway.tools.shell.exit_status import CONFLICT, INTERRUPTED

if TYPE_CHECKING:
    from gateway.tools.copying.log_place import LogPlace
    from gateway.tools.copying.operation import CopyRequest


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
@click.option("--follow", "follows", is_flag=True, help="Keep copying new data until Ctrl-C.")
@click.option(
    "--map",
    "map_file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Write to FILE which offset of TO stands for which offset of FROM.",
)
@click.option(
    "--from-auth", type=SecretFile(), metavar="FILE", help="File with the Authorization for FROM."
)
@click.option(
    "--to-auth", type=SecretFile(), metavar="FILE", help="File with the Authorization for TO."
)
@admin_option
@admin_token_option
@cacert_option
@click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")
@click.pass_context
def copy(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    source: str,
    to: str,
    prefix: str,
    names: Path | None,
    follows: bool,
    map_file: Path | None,
    from_auth: Path | None,
    to_auth: Path | None,
    admin: str | None,
    admin_token: Path | None,
    as_json: bool,
) -> None:
    """Copy streams from one place to another.

    FROM and TO are each file:PATH, a redis:// URL, or the URL below which a server has its streams,
    such as http://127.0.0.1:4437/v1/stream. @FILE is a file with one of these. No server may have a
    file:PATH open. You can stop the command at any moment and run it again: it continues, and
    stores nothing twice.
    """
    from gateway.tools.copying.operation import CopyRequest

    source, to = _written("FROM", source), _written("TO", to)
    both = is_whole_url(source) and is_whole_url(to)
    origin = _place(ctx, "FROM", source, from_auth, needs_file=both)
    target = _place(ctx, "TO", to, to_auth, needs_file=both)
    _check_apart(origin, target)
    api = None
    if is_whole_url(source) and names is None:
        api = _admin(ctx, source, admin, admin_token)
    _run(
        CopyRequest(
            origin,
            target,
            api,
            prefix=prefix,
            names=names,
            map_file=map_file,
            follows=follows,
            as_json=as_json,
        )
    )


def _place(
    ctx: click.Context, argument: str, text: str, auth_file: Path | None, *, needs_file: bool
) -> LogPlace | StreamTarget:
    """Return the place of an argument. Raises UsageError if there is none."""
    if auth_file is not None and not is_whole_url(text):
        raise click.UsageError(f"--{argument.lower()}-auth is for the URL of a server.")
    try:
        if not is_whole_url(text):
            from gateway.tools.copying.log_place import LogPlace

            return LogPlace(text)
        base = checked_base(text, "it")
        target = replace(target_of(f"{base}/any", ctx), url=base)
        if auth_file is not None:
            home = replace(target.home, auth_file=str(auth_file))
            given = _authorization(auth_file)
            return replace(target, authorization=given, is_elsewhere=False, home=home)
    except ValueError as cause:
        raise click.UsageError(f"{argument}: {cause}.") from cause
    if needs_file and target.authorization is not None and not target.home.is_bound:
        raise click.UsageError(
            f"{AUTHORIZATION_VARIABLE} is for one server: say for which by {BASE_VARIABLE}, or "
            "give --from-auth and --to-auth."
        )
    return target


def _written(argument: str, text: str) -> str:
    """Return the place of an argument, which may be written in a file. Raises UsageError."""
    if not text.startswith("@"):
        return text
    try:
        return _text_of(Path(text[1:]))
    except ValueError as cause:
        raise click.UsageError(f"{argument}: {cause}.") from cause


def _authorization(path: Path) -> str | None:
    return checked_authorization(_text_of(path), str(path))


def _text_of(path: Path) -> str:
    """Return the text of a file without blanks around it. Raises ValueError."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeError) as cause:
        reason = cause.strerror if isinstance(cause, OSError) else "it is no text"
        raise ValueError(f"{path} cannot be read: {reason}") from cause


def _check_apart(source: LogPlace | StreamTarget, target: LogPlace | StreamTarget) -> None:
    """Raise UsageError where both are one place."""
    mine, its = (
        {place.url} if isinstance(place, StreamTarget) else place.places
        for place in (source, target)
    )
    if mine & its:
        raise click.UsageError("FROM and TO are the same place.")


def _admin(ctx: click.Context, base: str, url: str | None, token_file: Path | None) -> StreamTarget:
    """Return the admin API by which the streams of FROM are listed. Raises UsageError."""
    base = checked_base(base, "FROM")
    try:
        home = home_of(os.environ, needs_base=False)
        if home.base.rstrip("/") != base:
            home = with_admin(HomeServer(base), os.environ)
        return admin_of(home, url, token_file, ctx)
    except ValueError as cause:
        raise click.UsageError(
            f"{cause}, if FROM is a Headgate: it lists its streams there; for any other server "
            "give their names by --names."
        ) from cause


def _run(request: CopyRequest) -> None:
    """Run the copy; a failure becomes one sentence and an exit status."""
    import asyncio

    from gateway.telemetry import logs
    from gateway.tools.copying.operation import copy as copied
    from gateway.tools.server.client import in_words, status_of
    from gateway.tools.shell.failure import FAILURES, OutputClosed
    from gateway.tools.shell.output import note

    # What a log warns of goes to stderr; what ends the command, it says itself.
    logs.configure("warning", "console", unwritten_events={"log.failed"})
    try:
        refused = asyncio.run(copied(request))
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OutputClosed:
        return
    except FAILURES as failure:
        note(f"headgate: {in_words(failure, _named_in(failure, request))}.")
        sys.exit(status_of(failure))
    if refused:
        sys.exit(CONFLICT)


def _named_in(failure: Exception, request: CopyRequest) -> StreamTarget | None:
    """Return the server whose URL the message has; None if it is about no server."""
    for place in (request.admin, request.source, request.target):
        if isinstance(place, StreamTarget) and place.shown in str(failure):
            return place
    return None
