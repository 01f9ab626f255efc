"""Passes over many messages of a stream: a search a bounded stretch at a time, and an export."""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

import msgspec

from admin.errors import NotTold
from admin.model.streams import MessagePlace, Messages
from admin.streams.messages import MOST_MESSAGES, json_message, json_offsets
from gateway.errors import BadRequest
from gateway.protocol.bodies.content import is_json, json_messages

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from admin.model.streams import ShownMessage
    from admin.streams.client import ChunkReply, StreamClient
    from admin.streams.filters import MessageFilter

# Of one search, which takes a fifth of a second: some 4 MiB, or as many short messages as can be
# parsed meanwhile. Its end has a link to the next part.
MOST_SEARCHED_READS = 16
MOST_SEARCHED = 20_000
# Of one export, which ends with the message that reaches it; a file that people can still open.
MOST_EXPORTED_BYTES = 64 << 20
# A read that is exported as lines is parsed as a whole: 256 KiB and the rest of an append.
LONGEST_EXPORTED_READ = 32 << 20
MOST_EXPORTS = 4  # at once, each with a read in memory
ONLY_JSON = "only JSON streams are split into messages: export this one as raw, without a filter"

ExportFormat = Literal["ndjson", "raw"]


class _Stretch(NamedTuple):
    """The fitting messages of a read from an index on, and the index after the last one seen."""

    messages: list[ShownMessage]
    seen: int
    end: int


async def search(
    client: StreamClient, path: str, place: MessagePlace, limit: int, wanted: MessageFilter
) -> Messages:
    """Return fitting messages from a place on; `behind` says where to search on. Raises NotTold."""
    limit = max(1, min(limit, MOST_MESSAGES))
    found: list[ShownMessage] = []
    searched, reads, at = 0, 0, place
    while True:
        read = await client.fetch(path, at.offset)
        reads += 1
        _check_json(read)
        most = MOST_SEARCHED - searched
        stretch = await asyncio.to_thread(_stretch, read, at.skip, limit - len(found), most, wanted)
        found += stretch.messages
        searched += stretch.seen
        behind: MessagePlace | None = MessagePlace(read.next_offset)
        if stretch.end:
            behind = MessagePlace(at.offset, stretch.end)
        elif read.up_to_date:
            behind = None
        is_over = reads == MOST_SEARCHED_READS or searched == MOST_SEARCHED
        if behind is None or is_over or len(found) == limit:
            break
        at = behind
    return Messages(
        read.content_type,
        place,
        tuple(found),
        behind,
        read.next_offset if behind is None else None,
        closed=read.closed and behind is None,
        searched=searched,
    )


def _stretch(read: ChunkReply, skip: int, limit: int, most: int, wanted: MessageFilter) -> _Stretch:
    """Return the fitting ones of `most` messages; `end` is 0 if all of the read was seen."""
    items = _items(read)
    offsets = json_offsets([len(it) for it in items], read.start, read.next_offset)
    found: list[ShownMessage] = []
    at = skip
    while at < len(items) and len(found) < limit and at - skip < most:
        if wanted.fits(items[at]):
            found.append(json_message(items[at], offsets[at], offsets[at + 1]))
        at += 1
    return _Stretch(found, at - skip, at if at < len(items) else 0)


def _items(read: ChunkReply) -> list[bytes]:
    """Return the messages of a read; all of it as one if an origin's JSON is none, or is cut."""
    try:
        return json_messages(read.body) if read.is_whole else [read.body]
    except BadRequest:
        return [read.body] if read.body else []


def _check_json(read: ChunkReply) -> None:
    if not is_json(read.content_type):
        raise NotTold(400, ONLY_JSON)


class RoutesLike(Protocol):
    """The routes by which streams are found."""

    def stream(self, route: str, name: str) -> tuple[str, str]:
        """Return the path and the name of a stream in the gateway's form. Raises NotTold."""


class StreamContents:
    """The contents of streams, as any client can read them; at most MOST_EXPORTS at once."""

    def __init__(self, client: StreamClient, routes: RoutesLike) -> None:
        self._client = client
        self._routes = routes
        self._running = 0

    async def messages(
        self, path: str, place: MessagePlace, limit: int, wanted: MessageFilter | None
    ) -> Messages:
        """Return the messages, or those that fit, from a place on. Raises NotTold."""
        if wanted is None:
            return await self._client.messages(path, place, limit)
        return await search(self._client, path, place, limit, wanted)

    def follow(self, path: str, offset: str) -> AsyncGenerator[Messages]:
        """Yield messages after an offset as they come, until the stream is closed."""
        return self._client.follow(path, offset)

    async def export(
        self,
        route: str,
        name: str,
        offset: str,
        kind: ExportFormat,
        wanted: MessageFilter | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield the parts of a file. Raises NotTold, before the first part for what is refused.

        A failure later on must end the download as incomplete.
        """
        path, _ = self._routes.stream(route, name)
        if kind == "raw" and wanted is not None:
            raise NotTold(400, "a filter needs format=ndjson: raw is the stream as it is")
        if self._running >= MOST_EXPORTS:
            raise NotTold(503, "too many exports at once: try again", {"Retry-After": "5"})
        self._running += 1
        try:
            async with aclosing(self._parts(path, offset, kind, wanted)) as parts:
                async for part in parts:
                    yield part
        finally:
            self._running -= 1

    async def _parts(
        self, path: str, offset: str, kind: ExportFormat, wanted: MessageFilter | None
    ) -> AsyncGenerator[bytes]:
        exported, joint = 0, b"["  # what stands before the messages of a read, of JSON
        is_array = False
        while exported < MOST_EXPORTED_BYTES:
            read = await self._client.fetch(path, offset, LONGEST_EXPORTED_READ)
            if not read.is_whole:
                raise NotTold(413, f"a read has more than {LONGEST_EXPORTED_READ:,} bytes")
            if kind == "ndjson":
                _check_json(read)
                yield await asyncio.to_thread(_lines, read, wanted)
            elif is_json(read.content_type):
                is_array = True
                if inside := read.body.strip().removeprefix(b"[").removesuffix(b"]"):
                    yield joint + inside
                    joint = b",\n"
            else:
                yield read.body
            exported += len(read.body)
            if read.up_to_date or read.next_offset == offset:
                break
            offset = read.next_offset
        if is_array:
            yield b"[]\n" if joint == b"[" else b"]\n"


def _lines(read: ChunkReply, wanted: MessageFilter | None) -> bytes:
    return b"".join(_lines_of(_items(read), wanted))


def _lines_of(items: list[bytes], wanted: MessageFilter | None) -> Iterator[bytes]:
    for item in items:
        if wanted is None or wanted.fits(item):
            yield _one_line(item)
            yield b"\n"


def _one_line(item: bytes) -> bytes:
    """Return a message without line ends, which JSON may have between its tokens."""
    return msgspec.json.format(item, indent=-1) if re.search(rb"[\r\n]", item) else item
