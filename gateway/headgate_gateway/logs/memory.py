"""The log in memory: the contract at its plainest. It ends with the process."""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from bisect import bisect_left, bisect_right
from functools import partial
from itertools import chain
from time import perf_counter
from typing import TYPE_CHECKING

from typing_extensions import override

from headgate_gateway.background import Turns, settle
from headgate_gateway.errors import LimitReached, StreamNotFound
from headgate_gateway.logs.contract import (
    LAST,
    Conflict,
    Listing,
    ListingPage,
    LoadedStream,
    Log,
)
from headgate_gateway.logs.counts import RECORD_BYTES, STREAM_BYTES, CommitHistograms, Quota
from headgate_gateway.logs.searches import FoundPaths
from headgate_gateway.protocol.lifecycle import PathState
from headgate_gateway.protocol.streams.chunks import Chunk, check_retained, segments_from

if TYPE_CHECKING:
    from collections.abc import Awaitable, Generator, Mapping, Sequence

    from headgate_gateway.errors import LogFull
    from headgate_gateway.logs.contract import Settled
    from headgate_gateway.logs.searches import PathTest
    from headgate_gateway.protocol.streams.state import (
        Change,
        ClockReading,
        ProducerState,
        StreamState,
    )
    from headgate_gateway.settings import Route
    from headgate_gateway.telemetry.metrics import Histogram

MAX_RETIRED = 1_000_000  # generations remembered for removed paths, about 200 bytes each
# Paths that one step of a listing compares: a tenth of a millisecond.
COMPARED_AT_ONCE = 2_000
# Of one search, in turns with other work. A million names take 2 s, unless each is compared with a
# pattern that takes milliseconds. What was found by then would not be the first names.
LONGEST_SEARCH_S = 10.0


class _Records:
    """The records of a stream: their ends, sorted because they only grow, and their bytes."""

    __slots__ = ("datas", "ends", "producers")

    def __init__(self) -> None:
        self.ends: list[int] = []
        self.datas: list[bytes] = []
        self.producers: dict[str, ProducerState] = {}


class MemoryLog(Log, Listing):
    """A log of streams in dicts, which compares all paths to list some."""

    def __init__(self, max_retired: int = MAX_RETIRED, max_bytes: int = 0) -> None:
        self._states: dict[str, StreamState] = {}
        self._records: dict[int, _Records] = {}
        self._retired: dict[str, int] = {}
        self._generation_floor: int | None = None
        self._max_retired = max_retired
        self._histograms = CommitHistograms()
        self.quota: Quota = Quota(max_bytes, partial(_used_bytes, self._records))
        self.listing: Listing = self
        self._turns = Turns()
        # By name, for features that store some beside streams.
        self.documents: dict[str, bytes] = {}
        # Ids begin at the clock, so that an ETag of an earlier process never fits a new stream.
        self._ids = itertools.count(time.time_ns())

    @override
    async def open(self) -> None:
        """Recover nothing."""

    @override
    async def close(self) -> None:
        """Release nothing."""

    @override
    def new_stream_id(self) -> int:
        return next(self._ids)

    @override
    def load(self, path: str) -> Awaitable[LoadedStream]:
        loaded: asyncio.Future[LoadedStream] = asyncio.get_running_loop().create_future()
        loaded.set_result(self._found(path))
        return loaded

    def _found(self, path: str) -> LoadedStream:
        state = self._states.get(path)
        producers = dict(self._records[state.stream_id].producers) if state is not None else {}
        retired = self._retired.get(path, self._generation_floor)
        return LoadedStream(PathState(state, retired), producers)

    @override
    def commit(self, changes: Sequence[Change]) -> asyncio.Future[None]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        failure = self._failure(changes)
        if failure is None:
            self._histograms.stored(changes)
        loop.call_soon(settle, done, failure)
        return done

    @override
    def commit_separately(self, changes: Sequence[Change], settled: Settled) -> None:
        failures: list[Exception | None] = []
        has_quota = bool(self.quota.max_bytes)
        for change in changes:
            try:
                present = self._states.get(change.state.path)
                # What makes a stream longer, and no more, has only its version against it.
                if (
                    (change.grown and not has_quota and present is not None)
                    and present.version == change.expected
                    and present.stream_id == change.state.stream_id
                ):
                    self._apply(change)
                    failures.append(None)
                else:
                    failures.append(self._failure((change,)))
            except Exception as error:  # noqa: BLE001 - the others go on
                failures.append(error)
        stored = changes
        if any(failures):
            done = zip(changes, failures, strict=True)
            stored = [change for change, failure in done if failure is None]
        self._histograms.stored(stored)
        loop = asyncio.get_running_loop()
        # One pass of the loop later, like a future's callbacks: this keeps the order of commits.
        loop.call_soon(loop.call_soon, settled, 0, failures)

    def _failure(self, changes: Sequence[Change]) -> Conflict | LogFull | None:
        """Apply all changes if the versions are as expected and the quota has room for them."""
        for change in changes:
            present = self._states.get(change.state.path)
            version = None if present is None else present.version
            is_other = present is not None and present.stream_id != change.state.stream_id
            if is_other or version != change.expected:
                return Conflict()
        refusal = self.quota.refusal(changes)
        if refusal is not None:
            return refusal
        for change in changes:
            self._apply(change)
        return None

    def _apply(self, change: Change) -> None:
        state = change.state
        if change.removes:
            self._remove(state)
            return
        records = self._records.get(state.stream_id)
        if records is None:
            records = self._records[state.stream_id] = _Records()
        self._states[state.path] = state
        for record in change.records:
            records.ends.append(record.end)
            records.datas.append(record.data)
        if change.trims:
            trimmed = bisect_right(records.ends, state.first)
            if self.quota.max_bytes:
                self.quota.used -= _size_of(records.datas[:trimmed])
            del records.ends[:trimmed], records.datas[:trimmed]
        for name in change.forgotten:
            records.producers.pop(name, None)
        records.producers.update(change.producers)

    def _remove(self, state: StreamState) -> None:
        del self._states[state.path]
        removed = self._records.pop(state.stream_id)
        if self.quota.max_bytes:
            self.quota.used -= STREAM_BYTES + _size_of(removed.datas)
        self._retired.pop(state.path, None)
        self._retired[state.path] = state.generation
        if len(self._retired) > self._max_retired:
            oldest = self._retired.pop(next(iter(self._retired)))
            self._generation_floor = max(self._generation_floor or 0, oldest)

    @override
    async def read(self, state: StreamState, start: int, end: int) -> Chunk:
        present = self._states.get(state.path)
        if present is None or present.stream_id != state.stream_id:
            raise StreamNotFound("the stream was deleted")
        check_retained(present, start)
        position = start
        found: list[list[bytes]] = []
        for segment in segments_from(present, start):
            records = self._records[segment.stream_id]
            first = bisect_right(records.ends, position)
            stop = bisect_left(records.ends, min(end, segment.end)) + 1
            datas = records.datas[first:stop]
            if datas:
                if not found:
                    start = records.ends[first] - len(datas[0])
                position = records.ends[first + len(datas) - 1]
                found.append(datas)
            if position >= end:
                break
        return Chunk(present, start, position, tuple(chain.from_iterable(found)))

    @override
    async def expired(self, now: ClockReading, limit: int) -> Sequence[str]:
        late = (path for path, state in self._states.items() if state.is_due(now))
        return list(itertools.islice(late, limit))

    @override
    async def page(self, prefix: str, after: str, limit: int) -> ListingPage:
        # In turns: a thread would hold up the event loop for 5 ms at a time.
        steps = _first_paths([*self._states], prefix, after, None, limit + 1)
        found = await self._turns.run(steps)
        states = [self._states[path] for path in found[:limit] if path in self._states]
        return ListingPage(states, found[limit - 1] if len(found) > limit else None)

    @override
    async def search(self, prefix: str, after: str, fits: PathTest, limit: int) -> FoundPaths:
        steps = _first_paths([*self._states], prefix, after, fits, limit + 1)
        found = await self._turns.run(steps)
        after_page = found[limit - 1] if len(found) > limit else None
        return FoundPaths(found[:limit], len(self._states), after_page)

    @override
    async def largest(self, prefix: str, most: int) -> Sequence[tuple[int, str]]:
        states = list(self._states.values())
        return await asyncio.to_thread(_largest, states, prefix, most)

    @override
    def why_unhealthy(self) -> str | None:
        return None  # memory is always there

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        return self._histograms.by_name("appends")

    @override
    def numbers(self) -> Mapping[str, float]:
        return {"streams": len(self._states)}

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return sum(state.expired(now) for state in self._states.values())


def _size_of(datas: Sequence[bytes]) -> int:
    return sum(map(len, datas)) + RECORD_BYTES * len(datas)


def _used_bytes(all_records: Mapping[int, _Records]) -> int:
    sizes = (_size_of(one.datas) for one in all_records.values())
    return sum(sizes) + STREAM_BYTES * len(all_records)


def _first_paths(
    paths: list[str], prefix: str, after: str, fits: PathTest | None, limit: int
) -> Generator[None, None, list[str]]:
    """Return the first paths that fit, at most `limit`: these alone are sorted.

    Each step compares COMPARED_AT_ONCE of them, or tests one. Raises LimitReached.
    """
    ends_at = perf_counter() + LONGEST_SEARCH_S
    first: list[str] = []
    most = prefix + LAST  # no path from here on is among the first
    for start in range(0, len(paths), COMPARED_AT_ONCE):
        some = paths[start : start + COMPARED_AT_ONCE]
        some = [path for path in some if after < path < most and path.startswith(prefix)]
        if fits is None:
            first += some
        else:
            first += yield from _fitting(some, fits)
            if perf_counter() >= ends_at:
                raise LimitReached("comparing all names takes too long: search for a simpler text")
        if len(first) >= limit:
            first.sort()
            del first[limit:]
            most = first[-1] if first else ""
        yield
    return sorted(first)


def _fitting(paths: list[str], fits: PathTest) -> Generator[None, None, list[str]]:
    """Return the paths that fit, a step for each: a comparison may take milliseconds."""
    found: list[str] = []
    for path in paths:
        if fits(path):
            found.append(path)
        yield
    return found


def _largest(states: list[StreamState], prefix: str, most: int) -> list[tuple[int, str]]:
    return heapq.nlargest(
        most, ((state.size, state.path) for state in states if state.path.startswith(prefix))
    )


def log_of(route: Route) -> MemoryLog:
    """Return a log in memory, which is every route's own."""
    return MemoryLog(max_bytes=route.max_storage_size)
