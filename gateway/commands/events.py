"""`headgate events`: what happened at a running server, from its admin listener."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from gateway.commands.one_stream.admin_target import (
    admin_option,
    admin_token_option,
    server_and_admin,
)
from gateway.commands.one_stream.home import server_options
from gateway.commands.shell.times import age_s

if TYPE_CHECKING:
    from pathlib import Path

KINDS = ("server", "worker", "log", "origin", "access", "purge", "change", "attention")
LEVELS = ("good", "warning", "bad")


@click.command("events")
@click.option("--since", metavar="AGE", help="Only those of the last AGE, such as 30m, 6h or 7d.")
@click.option("--kind", type=click.Choice(KINDS), help="Only those of this kind.")
@click.option("--level", type=click.Choice(LEVELS), help="Only those of this level.")
@click.option("-f", "--follow", is_flag=True, help="Print further events as they happen.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@admin_option
@admin_token_option
@server_options
@click.pass_context
def events(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    since: str | None,
    kind: str | None,
    level: str | None,
    follow: bool,
    as_json: bool,
    admin: str | None,
    admin_token: Path | None,
) -> None:
    """List what happened at a server: starts, reloads, outages, changes by operators.

    Each line has time, level, kind, duration, count and a sentence, in the order in
    which they were noted; "-" means that an
    event has no duration. There are 1000 lines at most. With --follow, an event whose end or count
    changes is printed again.
    """
    try:
        wanted = {
            "since": str(time.time() - _seconds(since)) if since else "",  # noqa: TID251 - of people
            "kind": kind or "",
            "level": level or "",
        }
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause
    _, target = server_and_admin(ctx, admin, admin_token)
    from gateway.commands.many_streams.event_lines import print_events
    from gateway.commands.one_stream.operations import run

    query = {name: value for name, value in wanted.items() if value}
    run(target, print_events(target, query, follow=follow, as_json=as_json))


def _seconds(age: str) -> float:
    """Return an age in seconds. Raises ValueError."""
    seconds = age_s(age)
    if seconds is None:
        raise ValueError("--since must be a number with s, m, h or d, such as 30m")
    return seconds
