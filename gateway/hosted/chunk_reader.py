"""Reads of chunks from a log, shared by equal requests and limited to applied commits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from gateway.errors import StreamGone
from gateway.live.contract import LONGEST_ROUND
from gateway.protocol.streams import chunks
from gateway.runtime.single_flight import SingleFlight
from gateway.streams.versions import begins_alike

if TYPE_CHECKING:
    from gateway.protocol.requests import Read
    from gateway.protocol.streams.chunks import Chunk
    from gateway.protocol.streams.state import StreamState
    from gateway.protocol.views import View
    from gateway.streams.stream_table import StreamTable


class ChunkReader:
    """The reads of one log, none ahead of its table.

    `longest_round` is the most bytes of news that are shaped and rendered in one turn.
    """

    fold_version = 0
    longest_round = LONGEST_ROUND

    def __init__(self, table: StreamTable) -> None:
        self.table = table
        self._reads: SingleFlight[Chunk] = SingleFlight()

    def is_current(self, chunk: Chunk, *, until_change: bool) -> bool:
        """Return whether a chunk may be cached: `until_change` where an append makes it stale."""
        active = self.table.peek(chunk.state.path)
        if active is None or active.state is None:
            return False
        known, read = active.state, chunk.state
        if known.soft_deleted:
            return False  # nobody reads it any more, but through its forks
        if (known.stream_id, known.generation) != (read.stream_id, read.generation):
            return False
        if chunk.start < known.first:
            return False  # trimmed meanwhile: it would lead readers to where nothing is kept
        return not until_change or active.state.version == chunk.state.version

    def shaped(self, chunk: Chunk) -> Chunk:
        """Return a chunk of news as readers get it."""
        return chunk

    async def chunk_for(self, read: Read, state: StreamState, start: int) -> Chunk:
        """Return the chunk at `start`, or at the beginning if that moved on since the request."""
        try:
            return await self.chunk(state, start)
        except StreamGone:
            now = self.table.present(await self.table.load(state.path))
            if read.offset is not None or begins_alike(now, state):
                raise
            return await self.chunk_for(read, now, now.first)

    async def chunk(self, state: StreamState, start: int) -> Chunk:
        """Return the chunk at `start`, shared by equal reads of one version of the stream.

        The log may be ahead of the table by commits that are about to be applied. They are left
        out: a reader who saw them could come back with an offset that the table does not know.
        """
        key = (state.stream_id, start, state.version, state.history)
        read = partial(self.table.log.read, state, start, chunks.boundary(start))
        chunk = await self._reads.read(key, read)
        if chunk.state is state:
            return chunk  # with nothing newer, as most are
        active = self.table.peek(state.path)
        known = active.state if active is not None else None
        if known is None or not known.is_along(chunk.state):
            return chunk
        return chunks.no_newer_than(chunk, known) if known.version < chunk.state.version else chunk


class ChunkReaders:
    """The readers of one log's chunks: as they are, and folded where a feature does that."""

    def __init__(self, plain: ChunkReader) -> None:
        self.plain = plain
        self.folded = plain

    def of(self, view: View) -> ChunkReader:
        """Return the reader for a view."""
        return self.folded if view.is_folded else self.plain
