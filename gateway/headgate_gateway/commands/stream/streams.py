"""The commands on one stream, as the command line declares them.

`operations` does the work. It is imported when a command runs: it needs the whole HTTP client,
and help and completion should not wait for that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from headgate.names import DEFAULT_BASE
from headgate_gateway.commands.options.parameters import (
    FieldType,
    MomentType,
    SecondsType,
    StreamType,
)
from headgate_gateway.commands.options.server import (
    admin_beside,
    admin_options,
    admin_url,
    server_options,
)
from headgate_gateway.protocol.http.header_names import CLOSED, FORKED_FROM

if TYPE_CHECKING:
    from headgate_gateway.tools.server.target import StreamTarget

DEFAULT_CONTENT_TYPE = "text/plain"
STREAM_HELP = f"""
STREAM is a URL, or a name below the URL in STREAM_URL. If that is not set, the name is below the
URL of the current context, of the server that you run on this machine, or {DEFAULT_BASE}.
Each request has the value of STREAM_AUTH as its Authorization.
"""


stream_argument = click.argument("stream", metavar="STREAM", type=StreamType())
json_option = click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON message a line; the default for JSON streams.",
)
result_option = click.option(
    "--json", "as_json", is_flag=True, help="Print the result as one JSON object."
)
raw_option = click.option(
    "--raw",
    "as_bytes",
    is_flag=True,
    help="Print the bytes as they are; the default for other streams.",
)

offset_file_option = click.option(
    "--offset-file",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Begin at the offset in FILE, if it exists, and store the next offset there.",
)


@click.command(epilog=STREAM_HELP)
@stream_argument
@click.option(
    "-t",
    "--content-type",
    type=FieldType(),
    metavar="TYPE",
    help=f"Its content type.  [default: {DEFAULT_CONTENT_TYPE}; for a fork, the source's]",
)
@click.option("-d", "--data", metavar="TEXT", help="First data; @FILE reads a file, - reads stdin.")
@click.option(
    "--ttl",
    type=SecondsType(1),
    metavar="DURATION",
    help="Delete it after this time without reads and appends, such as 90s or 7d.",
)
@click.option(
    "--expires-at",
    type=MomentType(),
    metavar="TIME",
    help="Delete it at this time, such as 2030-01-31T12:00:00Z.",
)
@click.option("--closed", is_flag=True, help="Create it closed: it takes no appends.")
@click.option(
    "--fork-from", type=StreamType(), metavar="STREAM", help="Begin with the data of this stream."
)
@click.option(
    "--fork-offset",
    type=FieldType(),
    metavar="OFFSET",
    help="Copy up to this offset, which the source must have returned.  [default: all]",
)
@click.option(
    "--fork-sub-offset",
    type=click.IntRange(min=0),
    metavar="N",
    help="Copy N more messages (JSON) or bytes after --fork-offset.",
)
@result_option
@server_options
def create(  # noqa: PLR0913 - one for each option
    stream: StreamTarget,
    content_type: str | None,
    data: str | None,
    ttl: int | None,
    expires_at: str | None,
    closed: bool,
    fork_from: StreamTarget | None,
    fork_offset: str | None,
    fork_sub_offset: int | None,
    as_json: bool,
) -> None:
    """Create a stream, or check that it exists already."""
    if ttl is not None and expires_at is not None:
        raise click.UsageError("--ttl and --expires-at exclude each other.")
    if fork_offset is not None and fork_from is None:
        raise click.UsageError("--fork-offset needs --fork-from.")
    if fork_sub_offset is not None and fork_offset is None:
        raise click.UsageError("--fork-sub-offset needs --fork-offset.")
    if fork_from is not None and not fork_from.is_beside(stream):
        raise click.UsageError("--fork-from must be on the same server.")
    if content_type is None and fork_from is None:
        content_type = DEFAULT_CONTENT_TYPE
    fields = {
        "Content-Type": content_type,
        "Stream-TTL": None if ttl is None else str(ttl),
        "Stream-Expires-At": expires_at,
        CLOSED: "true" if closed else None,
        FORKED_FROM: None if fork_from is None else fork_from.path,
        "Stream-Fork-Offset": fork_offset,
        "Stream-Fork-Sub-Offset": None if fork_sub_offset is None else str(fork_sub_offset),
    }
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream import operations

    headers = {name: value for name, value in fields.items() if value is not None}
    work = operations.create(stream, headers, data, fork_from, as_json=as_json)
    run(stream, work)


@click.command(epilog=STREAM_HELP)
@stream_argument
@click.option(
    "-d",
    "--data",
    metavar="TEXT",
    help="Data to append; @FILE reads a file.  [default: all of stdin]",
)
@click.option("--lines", is_flag=True, help="Append each line of stdin separately, as it comes.")
@click.option(
    "-t", "--content-type", type=FieldType(), metavar="TYPE", help="[default: the stream's]"
)
@click.option(
    "--seq",
    type=FieldType(),
    metavar="TEXT",
    help="Stream-Seq: refuse the append if not greater than the last one, compared as text.",
)
@click.option(
    "--producer",
    type=FieldType(),
    metavar="ID",
    help="Id of a producer: append exactly once, even if you repeat the command.",
)
@click.option(
    "--epoch",
    type=click.IntRange(min=0),
    metavar="N",
    help="The producer's epoch; use a higher one for new data.  [default: 0]",
)
@click.option("--close", is_flag=True, help="Close the stream with this append.")
@result_option
@server_options
def append(  # noqa: PLR0913 - one for each option
    stream: StreamTarget,
    data: str | None,
    lines: bool,
    content_type: str | None,
    seq: str | None,
    producer: str | None,
    epoch: int | None,
    close: bool,
    as_json: bool,
) -> None:
    """Append to a stream.

    With --producer you can repeat the command with the same input after any failure: data that the
    server already has is not appended twice. Other input needs another --epoch.
    """
    if lines and data is not None:
        raise click.UsageError("--lines reads stdin, so it excludes --data.")
    if lines and seq is not None:
        raise click.UsageError("--seq is of one append, so it excludes --lines.")
    if epoch is not None and producer is None:
        raise click.UsageError("--epoch needs --producer.")
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream import operations
    from headgate_gateway.commands.stream.append import CommandProducer

    writer = None if producer is None else CommandProducer(producer, epoch or 0)
    headers = {} if seq is None else {"Stream-Seq": seq}
    if content_type is not None:
        headers["Content-Type"] = content_type
    if lines:
        from headgate_gateway.commands.stream.append_lines import append_lines

        work = append_lines(stream, headers, writer, close=close, as_json=as_json)
    else:
        work = operations.append(stream, headers, writer, data, close=close, as_json=as_json)
    run(stream, work)


@click.command(epilog=STREAM_HELP)
@stream_argument
@click.option(
    "--offset",
    type=FieldType(),
    metavar="OFFSET",
    help="Begin at this offset.  [default: -1, the beginning]",
)
@offset_file_option
@json_option
@raw_option
@server_options
def read(
    stream: StreamTarget,
    offset: str | None,
    offset_file: Path | None,
    as_json: bool,
    as_bytes: bool,
) -> None:
    """Print a stream up to its tail.

    The command prints the next offset on stderr, or stores it in the offset file.
    """
    if offset is not None and offset_file is not None:
        raise click.UsageError("--offset and --offset-file exclude each other.")
    as_lines = _form(as_json, as_bytes)
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream import operations

    run(stream, operations.read(stream, offset, offset_file, as_lines=as_lines))


@click.command(epilog=STREAM_HELP)
@stream_argument
@click.option(
    "--offset",
    type=FieldType(),
    metavar="OFFSET",
    help="Begin at this offset.  [default: the tail]",
)
@click.option("--from-start", is_flag=True, help="Begin at the beginning of the stream.")
@offset_file_option
@click.option("--long-poll", is_flag=True, help="Use long-poll instead of SSE.")
@json_option
@raw_option
@server_options
def tail(  # noqa: PLR0913 - one for each option
    stream: StreamTarget,
    offset: str | None,
    from_start: bool,
    offset_file: Path | None,
    long_poll: bool,
    as_json: bool,
    as_bytes: bool,
) -> None:
    """Print a stream as it grows, until it is closed.

    It reconnects after a lost connection, and prints nothing twice.
    """
    if from_start and offset is not None:
        raise click.UsageError("--from-start and --offset exclude each other.")
    if offset is not None and offset_file is not None:
        raise click.UsageError("--offset and --offset-file exclude each other.")
    as_lines = _form(as_json, as_bytes)
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream import operations

    begin = "-1" if from_start else offset
    work = operations.tail(stream, begin, offset_file, by_poll=long_poll, as_lines=as_lines)
    run(stream, work)


@click.command(epilog=STREAM_HELP)
@stream_argument
@result_option
@admin_options
@server_options
@click.pass_context
def head(ctx: click.Context, stream: StreamTarget, as_json: bool) -> None:
    """Print the metadata of a stream.

    The admin listener of a Headgate also has its size, its age and the time of its last append:
    without one that is known, these are left out.
    """
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream.head import print_head

    admin = admin_beside(stream, ctx)
    run(stream, print_head(stream, admin, is_named=bool(admin_url(ctx)), as_json=as_json))


@click.command(epilog=STREAM_HELP)
@stream_argument
@result_option
@server_options
def close(stream: StreamTarget, as_json: bool) -> None:
    """Close a stream to further appends.

    Readers then reach the end of the stream. A closed stream cannot be opened again.
    """
    from headgate_gateway.commands.running import run
    from headgate_gateway.commands.stream import operations

    run(stream, operations.close(stream, as_json=as_json))


def _form(as_json: bool, as_bytes: bool) -> bool | None:
    """Return whether to print one message a line; None leaves it to the content type."""
    if as_json and as_bytes:
        raise click.UsageError("--json and --raw exclude each other.")
    return as_json if as_json or as_bytes else None


COMMANDS = (create, append, read, tail, head, close)
