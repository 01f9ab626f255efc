"""The commands on many streams, as the command line declares them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from headgate.names import without_secrets
from headgate_gateway.commands.options.configuration import complain
from headgate_gateway.commands.options.parameters import StreamType
from headgate_gateway.commands.options.server import (
    admin_options,
    named_admin,
    on_admin_listener,
    server_options,
)
from headgate_gateway.commands.options.stream_names import complete_stream
from headgate_gateway.commands.stream.streams import STREAM_HELP, result_option

if TYPE_CHECKING:
    from headgate_gateway.features.questions.streams import StreamOrder
    from headgate_gateway.tools.server.listing import NameSearch
    from headgate_gateway.tools.server.target import StreamTarget


contains_option = click.option(
    "--contains", metavar="TEXT", default="", help="Only streams with this text in their names."
)
glob_option = click.option(
    "--glob",
    metavar="PATTERN",
    default="",
    help="Only streams whose names are like this: * is any characters, ? one, [ab] one of these.",
)


@click.command("ls")
@click.argument("prefix", default="", shell_complete=complete_stream)
@contains_option
@glob_option
@click.option(
    "--sort",
    "order",
    type=click.Choice(("name", "size", "rate", "growth", "readers")),
    default="name",
    show_default=True,
    help="Order of each route's streams: by name, or the largest first.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object a line.")
@on_admin_listener
def list_streams(
    prefix: str,
    contains: str,
    glob: str,
    order: StreamOrder,
    as_json: bool,
    target: StreamTarget,
) -> None:
    """List the streams, or those whose names begin with PREFIX.

    Each line has state, size in bytes, live readers, appends a second in the last minute, expiry
    and name; "-" means unknown. By rate, by growth (bytes in the last hour) and by readers, only
    streams that have any are listed. The server must be a Headgate, because the list comes from
    its admin listener: the protocol has none.
    """
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream.ls import ls
    from headgate_gateway.tools.server.listing import NameSearch

    search = NameSearch(prefix.lstrip("/"), contains, glob, order)
    run(target, ls(target, search, as_json=as_json))


@click.command(epilog=STREAM_HELP)
@click.argument("stream", metavar="[STREAM]", type=StreamType(), required=False)
@click.option(
    "--prefix",
    metavar="TEXT",
    shell_complete=complete_stream,
    help="Delete all streams whose names begin with this.",
)
@contains_option
@glob_option
@click.option("--yes", "is_confirmed", is_flag=True, help="Delete many without asking first.")
@admin_options
@result_option
@server_options
@click.pass_context
def delete(  # noqa: PLR0913 - one for each option
    ctx: click.Context,
    stream: StreamTarget | None,
    prefix: str | None,
    contains: str,
    glob: str,
    is_confirmed: bool,
    as_json: bool,
) -> None:
    """Delete a stream with its data, or many with --prefix, --contains or --glob.

    For many, the command first counts the streams. Type their number to delete exactly these
    streams. The server must be a Headgate, because its admin listener counts them.
    """
    is_many = prefix is not None or bool(contains or glob)
    if (stream is not None) is is_many:
        raise click.UsageError("Give either STREAM or --prefix, --contains or --glob.")
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream import operations

    if stream is not None:
        run(stream, operations.delete(stream, as_json=as_json))
    elif prefix == "":  # as of a variable that is not set
        raise click.UsageError('--prefix is empty: give --prefix "/" to delete all streams.')
    else:
        from headgate_gateway.tools.server.listing import NameSearch

        target = named_admin(ctx)
        search = NameSearch((prefix or "").lstrip("/"), contains, glob)
        _delete_many(ctx, target, search, is_confirmed, as_json)


def _delete_many(
    ctx: click.Context, admin: StreamTarget, search: NameSearch, is_confirmed: bool, as_json: bool
) -> None:
    """Count, ask, and delete; any failure ends the program."""
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream.deletion import ManyStreams
    from headgate_gateway.tools.shell.failure import Failed

    streams = ManyStreams(admin, search)
    run(admin, streams.count_all())
    if streams.count and not is_confirmed:
        try:
            streams.confirm(f"{without_secrets(admin.server.base)}/{search.words}")
        except Failed as failure:
            complain(f"{failure}.")
            ctx.exit(1)
    run(admin, streams.delete_all(as_json=as_json))


COMMANDS = (list_streams, delete)
