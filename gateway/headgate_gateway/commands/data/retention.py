"""`headgate data retention`: how much of one stream is kept, by the API of the admin listener."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click
import msgspec

from headgate_gateway.commands.options.parameters import SecondsType
from headgate_gateway.commands.options.server import (
    URL_VARIABLE,
    admin_of,
    admin_options,
    admin_url,
    server_options,
)
from headgate_gateway.commands.stream.streams import STREAM_HELP, result_option, stream_argument
from headgate_gateway.tools.shell.failure import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from headgate_gateway.tools.server.target import StreamTarget

NAMES = ("retention_age", "retention_size", "retention_messages")
COLUMNS = "{:<18}  {:>12}  {}\n"


class _Limits(msgspec.Struct):
    own: list[str]
    retention_age: int
    retention_size: int
    retention_messages: int


class _Stream(msgspec.Struct):
    limits: _Limits | None


@click.command(epilog=STREAM_HELP)
@stream_argument
@click.option(
    "--age",
    type=SecondsType(),
    metavar="DURATION",
    help="Remove records that are older, such as 30d; 0 means no limit.",
)
@click.option(
    "--size",
    type=click.IntRange(min=0),
    metavar="BYTES",
    help="Remove the oldest records beyond this size; 0 means no limit.",
)
@click.option(
    "--messages",
    type=click.IntRange(min=0),
    metavar="N",
    help="Remove the oldest records beyond this number of messages; 0 means no limit.",
)
@click.option("--clear", is_flag=True, help="Take the limits of the route again, all three.")
@admin_options
@result_option
@server_options
@click.pass_context
def retention(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    stream: StreamTarget,
    age: int | None,
    size: int | None,
    messages: int | None,
    clear: bool,
    as_json: bool,
) -> None:
    """Print or set how much of a stream is kept.

    Without a limit or --clear, the command only prints. A limit that you leave out stays as it is.
    The server must be a Headgate, because its admin listener has the limits: the protocol has none.
    """
    named = zip(NAMES, (age, size, messages), strict=True)
    changes = {name: value for name, value in named if value is not None}
    if clear and changes:
        raise click.UsageError("--clear excludes --age, --size and --messages.")
    # A stream of another server must not have its limits set at the admin listener of this one.
    if not admin_url(ctx) and not stream.server.has(stream.url):
        raise click.UsageError(
            f"Say where its admin listener is, by --admin URL or {URL_VARIABLE}."
        )
    try:
        target = admin_of(stream.server, ctx)
    except ValueError as cause:
        raise click.UsageError(f"{cause}.") from cause
    from headgate_gateway.commands.running import run

    wanted = dict.fromkeys(NAMES) if clear else changes
    run(target, _retention(target, stream, wanted, as_json=as_json))


async def _retention(
    target: StreamTarget, stream: StreamTarget, changes: Mapping[str, int | None], *, as_json: bool
) -> None:
    """Make the changes, if there are any, and print the limits in force."""
    from headgate_gateway.tools.server.admin_requests import admin_answer, admin_change, decoded
    from headgate_gateway.tools.server.client import connect
    from headgate_gateway.tools.server.listing import place_of
    from headgate_gateway.tools.shell.output import heading, line_form, write

    async with connect(target) as admin:
        route, name = await place_of(admin, stream.path)
        query = {"route": route, "name": name}
        if changes:
            body = json.dumps(changes).encode()
            answer = await admin_change(admin, "PATCH", "api/v1/stream", query, body)
        else:
            answer = await admin_answer(admin, "api/v1/stream", query)
    found = decoded(target.shown, answer, _Stream).limits
    if found is None:
        raise Failed(f"{stream.shown} is at an HTTP origin, which decides what it keeps")
    limits = {each: getattr(found, each) for each in NAMES}
    own = [each for each in NAMES if each in found.own]
    if as_json:
        result = {"url": stream.shown, **limits, "own": own}
        write(json.dumps(result).encode() + b"\n")
        return
    form = line_form(COLUMNS)
    heading(COLUMNS, "LIMIT", "VALUE", "SET BY")
    rows = [(each, limits[each], "stream" if each in own else "route") for each in NAMES]
    write("".join(form.format(*row) for row in rows).encode())
