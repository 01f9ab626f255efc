"""The metadata of a stream, with what the admin listener of its server knows."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING

from headgate_gateway.features.questions.streams import StreamDescription, StreamRow
from headgate_gateway.tools.server.admin_requests import admin_value
from headgate_gateway.tools.server.client import connect, in_words
from headgate_gateway.tools.server.listing import place_of
from headgate_gateway.tools.shell.failure import FAILURES
from headgate_gateway.tools.shell.output import line_form, note, write
from headgate_gateway.tools.shell.terminal import safe
from headgate_gateway.tools.shell.times import age_words, utc

if TYPE_CHECKING:
    from headgate_gateway.tools.server.target import StreamTarget

ADMIN_S = 2.0  # for the admin listener, which the command can do without


async def print_head(
    target: StreamTarget, admin: StreamTarget | None, *, is_named: bool, as_json: bool
) -> None:
    """Print the stream's metadata, with what its server's admin listener knows.

    If nobody has named the listener, so that its address is only assumed, a failure is not noted.
    """
    async with connect(target) as stream:
        found = await stream.head()
    row, why_not = StreamRow(name=""), ""
    if admin is not None:
        row, why_not = await _row(admin, target.path)
    age = None if row.created_at is None else max(0.0, _now() - row.created_at)
    metadata = {
        "url": target.shown,
        "content_type": found.content_type or None,
        "next_offset": found.next_offset,
        "closed": found.is_closed,
        "ttl": found.ttl,
        "expires_at": found.expires_at,
        "size": row.size,
        "created_at": utc(row.created_at),
        "age": None if age is None else int(age),
        "last_append_at": utc(row.last_append_at),
    }
    if why_not and is_named:
        note(f"headgate: size and age are not known: {why_not}.")
    if as_json:
        write(json.dumps(metadata).encode() + b"\n")
        return
    shown = {
        "closed": "yes" if metadata["closed"] else "no",
        "age": None if age is None else age_words(age),
    }
    rows = [(name, shown.get(name, value)) for name, value in metadata.items() if value is not None]
    form = line_form("{:<14}  {}\n")
    write("".join(form.format(name, safe(str(value))) for name, value in rows).encode())


async def _row(admin: StreamTarget, path: str) -> tuple[StreamRow, str]:
    """Return what the admin listener knows of a stream, and why it is nothing."""
    try:
        async with asyncio.timeout(ADMIN_S), connect(admin) as api:
            route, name = await place_of(api, path)
            query = {"route": route, "name": name}
            described = await admin_value(api, "api/v1/stream", query, StreamDescription)
            return described.row, ""
    except TimeoutError:
        return StreamRow(name=""), f"{admin.shown} has not answered within {ADMIN_S:g} s"
    except FAILURES as failure:
        return StreamRow(name=""), in_words(failure, admin)


def _now() -> float:
    return time.time()  # noqa: TID251 - of people
