"""Parts of views that had to make room, rendered again from the beginning of their stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.errors import LogUnavailable
from gateway.features.views.rendering import RenderingStore, ViewRendering
from gateway.live.contract import DataEvent
from gateway.protocol.streams.state import records_after
from gateway.runtime.single_flight import SingleFlight

if TYPE_CHECKING:
    from gateway.features.views.messages import Group
    from gateway.protocol.streams.state import StreamState
    from gateway.streams.reads import ChunkReader

MOST_WAITING = 8  # renderings of slow readers, of which each can go on where it has ended
NO_BOUND = 1 << 62  # a replay has no more than one chunk of the log in memory


class Replays:
    """The renderings for readers that are far behind; equal ones are shared."""

    def __init__(self, reader: ChunkReader, store: RenderingStore) -> None:
        self._reader = reader
        self._store = store
        self._flights: SingleFlight[DataEvent] = SingleFlight()
        self._folds: SingleFlight[DataEvent | None] = SingleFlight()
        self._waiting: list[ViewRendering] = []

    @property
    def started_folds(self) -> int:
        """Number of pieces that were folded."""
        return self._folds.started

    async def folded(self, rendering: ViewRendering, offset: str) -> DataEvent | None:
        """Return the first groups behind an offset, folded if they are many; None for none."""
        ready = rendering.ready_piece(offset)
        if ready is not None:
            return ready
        turns = self._reader.table.turns
        key = rendering, offset
        return await self._folds.read(key, lambda: turns.run(rendering.folding_steps(offset)))

    async def piece(self, view: str, state: StreamState, offset: str) -> DataEvent:
        """Return the first groups behind an offset; an empty piece if there are none."""
        key = view, state.stream_id, state.version, state.history, offset
        return await self._flights.read(key, lambda: self._piece(view, state, offset))

    async def _piece(self, view: str, state: StreamState, offset: str) -> DataEvent:
        rendering = self._acquire(view, state, offset)
        while (piece := rendering.piece(offset)) is None and not rendering.is_closed:
            if rendering.position == state.tail:
                rendering.close(state)
                break
            rendering.trim(rendering.size)  # what the reader has, or nobody needs any more
            await render_chunk(rendering, state, self._reader)
        piece = rendering.piece(offset)
        self._waiting.append(rendering)
        del self._waiting[:-MOST_WAITING]
        return piece or DataEvent(b"", offset)

    def _acquire(self, view: str, state: StreamState, offset: str) -> ViewRendering:
        """Return the waiting rendering that has come nearest to an offset, or a new one."""
        fitting = [
            one
            for one in self._waiting
            if one.key == (state.stream_id, view) and one.fits(state) and one.has(offset)
        ]
        if fitting:
            nearest = max(fitting, key=lambda it: it.position)
            self._waiting.remove(nearest)
            return nearest
        self._store.started[view] += 1
        store = RenderingStore(NO_BOUND)
        store.left_out = self._store.left_out
        return ViewRendering(view, state, store)


async def render_chunk(
    rendering: ViewRendering, state: StreamState, reader: ChunkReader
) -> list[Group]:
    """Render the next chunk of a stream; return its groups.

    Raises HeadgateError if it cannot be read.
    """
    chunk = await reader.chunk(state, rendering.position)
    if chunk.start != rendering.position or chunk.end == chunk.start:
        raise LogUnavailable("the log did not have what it told of")
    records = list(records_after(chunk.start, chunk.records))
    return await reader.table.turns.run(rendering.steps(records, chunk.state))
