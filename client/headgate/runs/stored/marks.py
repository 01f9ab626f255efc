"""Marks in the stream of a long run, by which its tail is found without reading all before it.

A mark is a record that says how many items are before it. No server reads a stream backwards, and
nobody but a server knows what an offset means, so the producer writes down where its marks are: in
a stream beside that of the run, its index. An entry is a hint. It may be missing, late, or of a
stream that was at this URL before: whoever finds no mark from its offset on reads from the
beginning. The end of a run needs no mark, since it stands behind every entry.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from headgate import following, records
from headgate.errors import ABSENT, StreamError
from headgate.sending.framing import JSON, json_array

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate.records import RunState
    from headgate.runs.formats import Format
    from headgate.stream_requests import StreamRequests

log = logging.getLogger("headgate.runs")

# So much is read as fast as an index: runs that have less need none.
EVERY_ITEMS = 1000
EVERY_BYTES = 256 << 10
# Else as many times less than there is before, so that a run of 10 million has 400 of them.
SHARE = 32
END_TIMEOUT_S = 1.0  # the end of the run waits for its entry, which is only a hint


def is_far(items: int, size: int) -> bool:
    """Return whether so many items or bytes are too many to read again from the beginning."""
    return items >= EVERY_ITEMS or size >= EVERY_BYTES


class Entry(msgspec.Struct, frozen=True):
    """A hint: from `offset` on, a mark comes soon that tells of `count` items or fewer."""

    count: int
    offset: str


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(list[Entry])


async def add(index: StreamRequests, entries: Iterable[Entry], ttl_s: int | None) -> None:
    """Add to the index; the first entries create it."""
    body = json_array([_encode(entry) for entry in entries])
    try:
        await index.append(body, content_type=JSON)
    except ABSENT:
        await index.create(content_type=JSON, ttl_s=ttl_s, body=body)


async def entries_of(index: StreamRequests) -> list[Entry]:
    """Return the entries, those of fewer items first; none if they cannot be read."""
    found: list[Entry] = []
    try:
        async with aclosing(following.catch_up(index, "-1")) as batches:
            async for _, batch in batches:
                for body in batch.bodies:
                    found += _decoder.decode(body)
    except ABSENT:
        return []  # as of every short run
    except (StreamError, msgspec.DecodeError) as error:
        log.info("%s: the index of a run is of no use: %s", index.shown, error)
        return []
    return sorted(found, key=lambda entry: entry.count)


def end_record(state: RunState, form: Format | None, count: int | None) -> bytes:
    """Return the record of the end, which says of a long run how many items are before it."""
    if form is None or count is None or count < EVERY_ITEMS:
        return records.end(state)
    return records.end(state, form.name, count)


class Marker:
    """Counts what one producer writes, and says when a mark is due.

    `count` is the number of items that were there before.
    """

    def __init__(
        self, index: StreamRequests, format_name: str, count: int, ttl_s: int | None
    ) -> None:
        self.count = count
        self._index = index
        self._format_name = format_name
        self._ttl_s = ttl_s
        self._bytes = 0
        self._next_count = count + max(EVERY_ITEMS, count // SHARE)
        self._next_bytes = EVERY_BYTES
        self._chunks: list[int] = []  # the numbers of the records among what is written
        self._has_index = False
        self._written = 0
        self._pending: list[Entry] = []
        self._is_requested = asyncio.Event()

    def wrote(self, item: bytes) -> None:
        """Count an item."""
        self.count += 1
        self._written += 1
        self._bytes += len(item)

    def wrote_record(self) -> None:
        """Count a record, which is a chunk of the writer's and no item."""
        self._written += 1
        self._chunks.append(self._written)

    @property
    def is_due(self) -> bool:
        """True if a mark is to be written now."""
        return self.count >= self._next_count or self._bytes >= self._next_bytes

    def mark(self, offset: str) -> bytes:
        """Return the mark; `offset` is any before it, the nearest that is known."""
        self._next_count = self.count + max(EVERY_ITEMS, self.count // SHARE)
        self._next_bytes = self._bytes + max(EVERY_BYTES, self._bytes // SHARE)
        self.wrote_record()
        self._has_index = True
        self._pending.append(Entry(self.count, offset))
        self._is_requested.set()
        return records.mark(self._format_name, self.count)

    def item_number(self, chunk: int) -> int:
        """Return which item of the producer's is this chunk of its writer's, both from 1 on."""
        return chunk - sum(number < chunk for number in self._chunks)

    async def keep(self) -> None:
        """Write the index as marks are made, one request at a time."""
        while True:
            await self._is_requested.wait()
            self._is_requested.clear()
            await self._add()

    async def end(self, offset: str) -> None:
        """Have the end of a long run found at once: it begins at `offset`."""
        if self._has_index:
            self._pending.append(Entry(self.count, offset))
            try:
                async with asyncio.timeout(END_TIMEOUT_S):
                    await self._add()
            except TimeoutError:
                log.info("%s: no entry in %s s", self._index.shown, END_TIMEOUT_S)

    async def _add(self) -> None:
        entries, self._pending = self._pending, []
        try:
            if entries:
                await add(self._index, entries, self._ttl_s)
        except StreamError as error:
            log.info("%s: no entry: %s", self._index.shown, error)
