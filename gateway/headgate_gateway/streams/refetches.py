"""A count of the reads that a working cache would have answered, for logs on another server."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_gateway.protocol.streams.chunks import Chunk

# Each has the latest fetch whose hash leads to it. There are more than streams in the memory of a
# process; at 8 bytes each they take half a MiB for a route.
PLACES = 1 << 16
_MASK = (1 << 64) - 1
_NO_VERSION = -1  # no append changes the chunk


class Refetches:
    """The fetches of data that a read had fetched before and that have not changed since.

    The first fetch of any data is not counted, since no cache could have spared it: a server whose
    streams have one reader each has many first fetches. Each fetch is remembered by a hash until
    another one takes its place, so that a repeated fetch may be missed and none is invented.
    """

    __slots__ = ("_places", "count")

    def __init__(self) -> None:
        self.count = 0
        self._places: array[int] | None = None  # made for the first fetch

    def note(self, chunk: Chunk, *, until_change: bool) -> None:
        """Count the fetch of a chunk if it is repeated; `until_change` if an append changes it."""
        state = chunk.state
        version = state.version if until_change else _NO_VERSION
        fetched = hash((state.stream_id, state.generation, chunk.start, version)) & _MASK
        if self._places is None:
            self._places = array("Q", bytes(8 * PLACES))
        place = fetched % PLACES
        self.count += self._places[place] == fetched
        self._places[place] = fetched
