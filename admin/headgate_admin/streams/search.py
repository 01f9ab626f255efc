"""A search for a text in the messages of a JSON stream, a bounded stretch at a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from headgate_admin.errors import ConsoleError
from headgate_admin.model.streams import MessagePlace, Messages
from headgate_admin.streams.messages import json_message, json_offsets
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import is_json, json_messages

if TYPE_CHECKING:
    from headgate_admin.model.streams import OfMessages, ShownMessage
    from headgate_admin.streams.client import ChunkReply, StreamClient

# Of one search, which takes a fifth of a second: some 4 MiB, or as many short messages as can be
# parsed meanwhile. Its end has a link to the next part.
MOST_SEARCHED_READS = 16
MOST_SEARCHED = 20_000
LONGEST_TEXT = 1024  # characters


class _Stretch(NamedTuple):
    """The fitting messages of a read from an index on, and the index after the last one seen."""

    messages: list[ShownMessage]
    seen: int
    end: int


async def search(client: StreamClient, path: str, query: OfMessages) -> Messages:
    """Return the messages of a stream that have the text of the query in them, in any case.

    `behind` says where to search on. Raises ConsoleError.
    """
    if len(query.text) > LONGEST_TEXT:
        raise ConsoleError(400, f"text has at most {LONGEST_TEXT:,} characters")
    folded = query.text.casefold()
    found: list[ShownMessage] = []
    searched, reads, at = 0, 0, query.place
    while True:
        read = await client.fetch(path, at.offset)
        reads += 1
        if not is_json(read.content_type):
            raise ConsoleError(
                400, "only JSON streams are split into messages that can be searched"
            )
        most = MOST_SEARCHED - searched
        stretch = await asyncio.to_thread(
            _stretch, read, at.skip, query.limit - len(found), most, folded
        )
        found += stretch.messages
        searched += stretch.seen
        behind: MessagePlace | None = MessagePlace(read.next_offset)
        if stretch.end:
            behind = MessagePlace(at.offset, stretch.end)
        elif read.up_to_date:
            behind = None
        is_over = reads == MOST_SEARCHED_READS or searched == MOST_SEARCHED
        if behind is None or is_over or len(found) == query.limit:
            break
        at = behind
    return Messages(
        read.content_type,
        query.place,
        tuple(found),
        behind,
        read.next_offset if behind is None else None,
        closed=read.closed and behind is None,
        searched=searched,
    )


def _stretch(read: ChunkReply, skip: int, limit: int, most: int, folded: str) -> _Stretch:
    """Return those of `most` messages that have a text; `end` is 0 if all of the read was seen."""
    items = _items(read)
    offsets = json_offsets([len(it) for it in items], read.start, read.next_offset)
    found: list[ShownMessage] = []
    at = skip
    while at < len(items) and len(found) < limit and at - skip < most:
        if folded in items[at].decode(errors="replace").casefold():
            found.append(json_message(items[at], offsets[at], offsets[at + 1]))
        at += 1
    return _Stretch(found, at - skip, at if at < len(items) else 0)


def _items(read: ChunkReply) -> list[bytes]:
    """Return the messages of a read; all of it as one if an origin's JSON is none, or is cut."""
    try:
        return json_messages(read.body) if read.is_whole else [read.body]
    except BadRequest:
        return [read.body] if read.body else []
