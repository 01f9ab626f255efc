"""Listing streams, one a line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from headgate_gateway.tools.server.client import connect
from headgate_gateway.tools.server.listing import streams_below
from headgate_gateway.tools.shell.output import heading, line_form, note, write
from headgate_gateway.tools.shell.terminal import safe
from headgate_gateway.tools.shell.times import utc

if TYPE_CHECKING:
    from headgate_gateway.tools.server.listing import ListedPath, NameSearch
    from headgate_gateway.tools.server.target import StreamTarget, TargetServer

# Lines are written as they come, so each column is as wide as what is usual in it.
COLUMNS = "{:<6}  {:>12}  {:>7}  {:>8}  {:<20}  {}\n"


async def ls(target: StreamTarget, search: NameSearch, *, as_json: bool) -> None:
    """Print the streams of a server that a search finds."""
    form, server, count = line_form(COLUMNS), target.server, 0
    async with connect(target) as admin:
        async for found in streams_below(admin, server.base, search):
            line = (
                json.dumps(_fields(found)) + "\n"
                if as_json
                else form.format(*_cells(found, server))
            )
            if count == 0 and not as_json:
                heading(COLUMNS, "STATE", "BYTES", "READERS", "RATE/S", "EXPIRES", "NAME")
            write(safe(line).encode())
            count += 1
    if count == 0:  # on stderr, so that a pipe gets an empty list
        named = "" if search.words == "*" else f" are named {search.words}"
        note(f"headgate: 0 streams{named}.")


def _fields(found: ListedPath) -> dict[str, object]:
    row = found.row
    return {
        "name": found.name,
        "url": found.url,
        "content_type": row.content_type,
        "next_offset": row.tail,
        "closed": row.closed,
        "size": row.size,
        "readers": row.readers,
        "rate": row.rate,
        "growth": row.growth,
        "last_append_at": utc(row.last_append_at),
        "expires_at": utc(row.expires_at),
    }


def _cells(found: ListedPath, server: TargetServer) -> tuple[str, ...]:
    row = found.row
    size = "-" if row.size is None else str(row.size)
    state = "closed" if row.closed else "open"
    name = found.url if server.routes else found.name  # as a command takes it
    rate = "-" if row.rate is None else f"{row.rate:.2f}"
    return state, size, str(row.readers), rate, utc(row.expires_at) or "-", name
