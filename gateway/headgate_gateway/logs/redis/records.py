"""Records in Redis: those of one commit are one entry, which reads split again.

An entry's ID is `START-HISTORY`: the position of its first record, and the history in which it was
added. Of two entries with one START the later one counts. An entry that begins at or past the tail
does not count: a crash may have interrupted its commit (see headgate.lua).
"""

from __future__ import annotations

import asyncio
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.background import LONGEST_TURN_S
from headgate_gateway.errors import RecordDamaged, StreamGone, StreamNotFound
from headgate_gateway.logs.redis.connection import pack
from headgate_gateway.logs.redis.replies import state_in
from headgate_gateway.protocol.streams.chunks import Chunk, check_retained
from headgate_gateway.protocol.streams.state import agreed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.logs.redis.connection import Packed, Reply
    from headgate_gateway.logs.redis.store import RedisStore
    from headgate_gateway.protocol.streams.state import StreamState

MISSING = "a record is missing in Redis: its key was evicted, or changed by somebody else"


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
    """Return the stretches with the records between two positions.

    The last may be of the stream itself, which may have grown since the state was read.
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
        """Add the records of a stretch, if it begins here; `entries` are emptied.

        A chunk may be a quarter of a million records, a thousand to an entry, so others have their
        turn in between. To free all entries at once would take long, too.
        """
        if stretch.start != self.position:
            return
        self._limit = min(stretch.stop, tail)
        time = asyncio.get_running_loop().time
        pause_at = time() + LONGEST_TURN_S
        entries.reverse()
        while entries:
            found = entries.pop()
            begin = start_of(found)
            if entries and start_of(entries[-1]) == begin:
                continue  # the later one counts
            if not self._add(begin, found[1]):
                return
            if entries and time() >= pause_at:
                await asyncio.sleep(0)
                pause_at = time() + LONGEST_TURN_S

    def _add(self, entry_start: int, fields: Reply) -> bool:
        """Add an entry's records; False if one is missing, or no more are wanted."""
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


async def read_records(store: RedisStore, state: StreamState, start: int, end: int) -> Chunk:
    """Return the records after `start`, and a state that is as new as they are, or newer.

    Those of a fork's sources may be on other servers. Raises as `Log.read`.
    """
    parts = stretches(state, start, end)
    read, was, now = await _entries(store, state, parts)
    if now is None or was is None or not was.stream_id == now.stream_id == state.stream_id:
        raise StreamNotFound("the stream was deleted")
    if start > now.tail or now.offset(start) != state.offset(start):
        raise StreamGone("the log has lost what was before this offset")
    check_retained(now, start)
    run = Run(start)
    for part, entries in read:
        await run.extend(part, entries, was.tail)
    end = read[-1][0].stop if read else end
    if run.position < min(end, state.tail, was.tail):
        raise RecordDamaged(MISSING)
    return Chunk(now, run.start, run.position, tuple(run.datas))


async def _entries(
    store: RedisStore, state: StreamState, parts: Sequence[Stretch]
) -> tuple[list[tuple[Stretch, list[Reply]]], StreamState | None, StreamState | None]:
    """Return the entries of each part, and the state before and after them.

    One call reads all of it from one server. A part ends where the rest of it is lost.
    """
    keys = [store.names.meta(part.path) for part in parts]
    key = store.names.meta(state.path)
    inherited: list[tuple[Stretch, list[Reply]]] = []
    if not store.servers.are_together([*keys, key]):
        last = parts[-1:] if keys[-1] == key else []
        for part in parts[: len(parts) - len(last)]:
            inherited.append(await _inherited(store, state, part))
            if inherited[-1][0].stop < part.stop:
                last = []
                break
        parts = last
    was, read, now = await _read(store, state.path, parts)
    return [*inherited, *read], was, now


async def _inherited(
    store: RedisStore, fork: StreamState, part: Stretch
) -> tuple[Stretch, list[Reply]]:
    """Return the records of a fork that another server has, as far as it still has them."""
    _, ((_, entries),), source = await _read(store, part.path, [part])
    end = -1
    if source is not None and source.stream_id == part.stream_id:
        end = agreed(source, fork, part.stop)
    if end <= part.start:
        raise StreamGone("the log has lost what the fork's source had here")
    return part._replace(stop=min(end, part.stop)), entries


async def _read(
    store: RedisStore, path: str, parts: Sequence[Stretch]
) -> tuple[StreamState | None, list[tuple[Stretch, list[Reply]]], StreamState | None]:
    """Return a stream's state, the entries of each part, and the state again, by one call.

    The records up to the first state's tail are complete; the second state shows whether they
    are all of one stream. A transaction is not used: Redis refuses it when out of memory.
    """
    names, state = store.names, store.names.call("state", path)
    reads = [call for part in parts for call in part.calls(names.records(part.path))]
    expected = sum(part.stop - part.start for part in parts)
    was, *replies, now = await store.execute(
        names.meta(path), state, *reads, state, expected=expected
    )
    # The entry in which a part begins, and the entries that follow.
    pairs = zip(parts, replies[::2], replies[1::2], strict=True)
    found = [(part, first + others) for part, first, others in pairs]
    return state_in(was), found, state_in(now)
