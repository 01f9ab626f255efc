"""Records in Redis: those of one commit are one entry, which reads split again.

An entry's ID is `START-HISTORY`: the position of its first record, and the history in which it was
added. Of two entries with one START the later one counts. An entry that begins at or past the tail
does not count: a crash may have kept its commit from being finished (see headgate.lua).
"""

from __future__ import annotations

import asyncio
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from gateway.backends.redis.connection import pack
from gateway.turns import LONGEST_TURN_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.backends.redis.connection import Packed, Reply
    from gateway.protocol.streams.state import Record, StreamState


class Stretch(NamedTuple):
    """Records that are read from one key: those that begin from `start` on and before `stop`."""

    stream_id: int
    path: str
    start: int
    stop: int

    def calls(self, key: str) -> tuple[Packed, Packed]:
        """Return the calls for the entry with the first record, and for the entries that follow."""
        return (
            pack("XREVRANGE", key, self.start, "-", "COUNT", 1),
            pack("XRANGE", key, f"{self.start + 1}-0", f"({max(self.start + 1, self.stop)}-0"),
        )


def stretches(state: StreamState, start: int, end: int) -> list[Stretch]:
    """Return the places of the records between two positions.

    The last may be the stream's own, which may have grown since the state was known.
    """
    found: list[Stretch] = []
    for segment in state.lineage:
        if start < min(end, segment.end):
            stop = min(end, segment.end)
            found.append(Stretch(segment.stream_id, segment.path, start, stop))
            start = segment.end
    if start < end:
        found.append(Stretch(state.stream_id, state.path, start, end))
    return found


def entry(records: Sequence[Record]) -> tuple[int | str, bytes, str]:
    """Return START, bytes and lengths of an entry.

    START is "" where there are no records, lengths where there is at most one.
    """
    if not records:
        return "", b"", ""
    start = records[0].end - len(records[0].data)
    if len(records) == 1:
        return start, records[0].data, ""
    lengths = " ".join(str(len(record.data)) for record in records)
    return start, b"".join(record.data for record in records), lengths


def start_of(found: Reply) -> int:
    """Return the position at which an entry's first record begins."""
    return int(found[0].partition(b"-")[0])


def _records(fields: Reply) -> Sequence[bytes]:
    """Return the records of an entry."""
    data = fields[1]
    if len(fields) == 2:
        return (data,)
    ends = [0, *accumulate(map(int, fields[3].split()))]
    return [data[begin:end] for begin, end in pairwise(ends)]


class Run:
    """Records from a position on, as far as they follow each other.

    If `start` lies inside a record, `start` becomes the position where that record begins.
    """

    __slots__ = ("_limit", "datas", "position", "start")

    def __init__(self, start: int) -> None:
        self.start = self.position = start
        self.datas: list[bytes] = []
        self._limit = 0

    async def extend(self, stretch: Stretch, entries: list[Reply], tail: int) -> None:
        """Take the records of a stretch, if it begins here; `entries` are emptied.

        A chunk may be a quarter of a million records, a thousand to an entry, so others have their
        turn in between. To free all entries at once would take long, too.
        """
        if stretch.start != self.position:
            return
        self._limit = min(stretch.stop, tail)
        time = asyncio.get_running_loop().time
        turn_ends = time() + LONGEST_TURN_S
        entries.reverse()
        while entries:
            found = entries.pop()
            begin = start_of(found)
            if entries and start_of(entries[-1]) == begin:
                continue  # the later one counts
            if not self._take(begin, found[1]):
                return
            if entries and time() >= turn_ends:
                await asyncio.sleep(0)
                turn_ends = time() + LONGEST_TURN_S

    def _take(self, entry_start: int, fields: Reply) -> bool:
        """Take an entry's records; False where one is missing, or no more are wanted."""
        for data in _records(fields):
            end = entry_start + len(data)
            if not self.datas and entry_start < self.position < end:
                self.start = self.position = entry_start
            if entry_start == self.position and entry_start < self._limit:
                self.datas.append(data)
                self.position = end
            elif end > self.position:
                return False
            entry_start = end
        return True
