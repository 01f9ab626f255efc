"""Reads of chunks in which neighbouring deltas of models' answers are joined."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from msgspec.structs import replace
from typing_extensions import override

from gateway.background import at_once
from gateway.features.compact.folding import VERSION, fold
from gateway.protocol.streams.chunks import FOLDED_BYTES, Chunk, boundary
from gateway.protocol.views import COMPACT
from gateway.routes.feature import RouteFeature
from gateway.runtime.single_flight import SingleFlight
from gateway.store import CacheEntry, Store
from gateway.streams.reads import ChunkReader, groups
from gateway.telemetry.metrics import counter, gauge, read
from gateway.telemetry.traffic import CacheShare

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable, Iterator, Sequence

    from gateway.features.compact.folding import FoldedEvent
    from gateway.protocol.streams.state import StreamState
    from gateway.routes.setup import RouteSetup
    from gateway.streams.route import HostedRoute
    from gateway.telemetry.metrics import Metric, Sample

# Folded chunks in memory: those of 400 answers of 38,000 deltas. Others are folded again.
MEMO_BYTES = 64 << 20
EVENT_BYTES = 120  # of an event besides its data
# Bytes of news that are folded in one turn: 5 ms.
LONGEST_FOLDED_ROUND = 64 * 1024


class FoldedPart(CacheEntry):
    """A folded chunk of the log: its events, and the stream when it was read."""

    __slots__ = ("end", "events", "state")

    def __init__(
        self,
        key: Hashable,
        groups: tuple[Hashable, ...],
        chunk: Chunk,
        events: Sequence[FoldedEvent],
    ) -> None:
        size = sum(EVENT_BYTES + len(event.data) for event in events)
        super().__init__(key, size, groups, owner=CacheShare())
        self.events = events
        self.end = chunk.end
        self.state = chunk.state


class FoldedReader(ChunkReader, RouteFeature):
    """The folded chunks of a route; each chunk of the log is folded once, until it changes."""

    views = (COMPACT,)
    fold_version = VERSION
    longest_round = LONGEST_FOLDED_ROUND

    def __init__(self, route: HostedRoute, _made: RouteSetup) -> None:
        super().__init__(route.table)
        self.parts: Store[FoldedPart] = Store(MEMO_BYTES)
        self.reader = route.reads.reader
        self._prefix = route.prefix
        self._clock = route.clock
        self._folds: SingleFlight[FoldedPart] = SingleFlight()
        route.feeds.fold_by(self, self.parts)

    @property
    def started_folds(self) -> int:
        """Number of chunks of the log that were read to be folded."""
        return self._folds.started

    @override
    def samples(self) -> Iterator[Sample]:
        return read(METRICS, self, self._prefix)

    @override
    def shaped(self, chunk: Chunk) -> Chunk:
        return _folded(chunk, at_once(self._steps(chunk)))

    @override
    async def chunk(self, state: StreamState, start: int) -> Chunk:
        """Return the folded chunk at `start`, made of one or more chunks of the log."""
        until = boundary(start, FOLDED_BYTES)
        events: list[FoldedEvent] = []
        position = start
        while True:
            part = await self.part(state, position)
            events += part.events
            state = max(state, part.state, key=attrgetter("version"))
            is_last = part.end in {position, state.tail} or part.end >= until
            position = part.end
            if is_last:
                return _folded(Chunk(state, start, position, ()), events)

    async def part(self, state: StreamState, start: int) -> FoldedPart:
        """Return one chunk of the log, folded."""
        found = self.parts.get((state.stream_id, start), self._clock())
        if found is not None:
            return found
        key = (state.stream_id, start, state.version, state.history)
        return await self._folds.read(key, lambda: self._fold(state, start))

    async def _fold(self, state: StreamState, start: int) -> FoldedPart:
        chunk = await self.reader.chunk(state, start)
        events = await self.table.turns.run(self._steps(chunk))
        until_change = chunk.at_tail or not chunk.complete
        key, dropped_with = (state.stream_id, start), groups(chunk.state, until_change=until_change)
        part = FoldedPart(key, dropped_with, chunk, events)
        if self.table.is_current(chunk, until_change=until_change):
            self.parts.put(part)
        return part

    def _steps(self, chunk: Chunk) -> Generator[None, None, list[FoldedEvent]]:
        return fold(chunk.state.content_type, chunk.start, chunk.records)


# By what each is of a reader.
METRICS: dict[Metric, Callable[[FoldedReader], float]] = {
    counter(
        "headgate_folded_parts_total",
        "Parts of streams in which neighbouring deltas were joined.",
        "route",
    ): (lambda folded: folded.started_folds),
    gauge("headgate_folded_bytes", "Bytes of folded parts in memory.", "route"): (
        lambda folded: folded.parts.bytes
    ),
}


def folded_reader_of(route: HostedRoute) -> FoldedReader:
    """Return the reader of a route's folded chunks."""
    reader = route.features["compact"].loaded()
    assert isinstance(reader, FoldedReader), "each route to a log has it"
    return reader


def _folded(chunk: Chunk, events: Sequence[FoldedEvent]) -> Chunk:
    """Return a chunk with these events in place of its records."""
    datas = tuple([event.data for event in events])
    return replace(chunk, records=datas, fold_version=VERSION)
