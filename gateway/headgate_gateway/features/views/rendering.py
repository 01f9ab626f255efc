"""A view of one stream, rendered once for all of its readers, and the memory of these."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, OrderedDict
from typing import TYPE_CHECKING

from headgate_gateway.live.contract import DataEvent
from headgate_gateway.protocol.views import RENDERED
from headgate_gateway.telemetry.metrics import Sample, counter, gauge
from headgate_gateway.telemetry.rare_lines import RareLine

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    from headgate_gateway.features.views.messages import Group
    from headgate_gateway.protocol.streams.state import Record, StreamState

# Rendered views that a route has in memory: those of 500 answers of 38,000 deltas.
STORE_BYTES = 64 << 20
BASE_BYTES = 4096  # of a rendering without its bytes: the state of its renderer
GROUP_BYTES = 200  # of a group besides its data
LONGEST_PIECE = 64 * 1024  # sent to a reader that catches up in one write


class ViewRendering:
    """The groups of a view up to a `position` of its stream: those after the offset `start`.

    What is before `start` had to make room. `is_torn` is True while a record is rendered in part.
    """

    def __init__(self, view: str, state: StreamState, store: RenderingStore) -> None:
        from headgate_gateway.features.views.renderers import (
            ViewRenderer,  # with parts of the client library
        )

        self.view = view
        self.key = state.stream_id, view
        self.history = state.history
        self.position = state.first
        self.start = state.offset(state.first)
        self.is_closed = self.is_torn = False
        self.has_beginning = True
        self.size = BASE_BYTES

        def on_left_out(size: int) -> None:
            store.left_out.note(stream=state.path, view=view, bytes=str(size))

        self._renderer = ViewRenderer(view, state.content_type, state.path, on_left_out)
        self._store = store
        self._ends: list[str] = []
        self._datas: list[bytes] = []

    @property
    def end(self) -> str:
        """The offset after the last group."""
        return self._ends[-1] if self._ends else self.start

    def fits(self, state: StreamState) -> bool:
        """Return whether the rendering is of this stream, and can go on from where it is."""
        is_same = (self.key[0], self.history) == (state.stream_id, state.history)
        return is_same and not self.is_torn and state.first <= self.position <= state.tail

    def steps(
        self, records: Iterable[Record], state: StreamState
    ) -> Generator[None, None, list[Group]]:
        """Render records that follow `position`, in steps; return the new groups."""
        found: list[Group] = []
        self.is_torn = True
        for record in records:
            for group in self._renderer.groups(record.data, record.end, state.offset):
                if group is not None:
                    found.append(group)
                    self._hold(group)
                yield
            self.position = record.end
        self.is_torn = False
        return found

    def close(self, state: StreamState) -> list[Group]:
        """Render the end of a stream that is closed and rendered up to its tail, once."""
        if self.is_closed or not state.closed or self.position != state.tail:
            return []
        self.is_closed = True
        found = self._renderer.closing(state.tail, state.offset)
        for group in found:
            self._hold(group)
        return found

    def _hold(self, group: Group) -> None:
        self._ends.append(group.end)
        self._datas.append(group.data)
        self._grow(GROUP_BYTES + len(group.data))
        self._store.shrink()

    def trim(self, size: int) -> None:
        """Drop the oldest groups, of at least `size` bytes if there are as many."""
        dropped = count = 0
        while count < len(self._datas) and dropped < size:
            dropped += GROUP_BYTES + len(self._datas[count])
            count += 1
        if count:
            self.has_beginning = False
            self.start = self._ends[count - 1]
            del self._ends[:count], self._datas[:count]
            self._grow(-dropped)

    def _grow(self, size: int) -> None:
        self.size += size
        self._store.bytes += size

    def has(self, offset: str) -> bool:
        """Return whether all groups after an offset are in memory."""
        return offset >= self.start

    def piece(self, offset: str) -> DataEvent | None:
        """Return the first groups after an offset; None if there are none in memory."""
        first = last = bisect_right(self._ends, offset)
        if first == len(self._ends) or not self.has(offset):
            return None
        size = 0
        while last < len(self._ends) and (last == first or size < LONGEST_PIECE):
            size += len(self._datas[last])
            last += 1
        return DataEvent(b"".join(self._datas[first:last]), self._ends[last - 1])


class RenderingStore:
    """The renderings of a route, bounded in bytes: those in use, and others for later readers.

    `started` counts by view the renderings that began with the beginning of a stream, and `dropped`
    those that had to make room, in whole or in part.
    """

    def __init__(self, max_bytes: int = STORE_BYTES) -> None:
        self.max_bytes = max_bytes
        self.bytes = 0
        self.started: Counter[str] = Counter(dict.fromkeys(RENDERED, 0))
        self.dropped = 0
        self.left_out = RareLine("view.message_left_out")
        self._used: OrderedDict[ViewRendering, None] = OrderedDict()
        self._keys: Counter[tuple[int, str]] = Counter()  # of those in use
        self._idle: OrderedDict[tuple[int, str], ViewRendering] = OrderedDict()

    def __len__(self) -> int:
        return len(self._used) + len(self._idle)

    def acquire(self, view: str, state: StreamState) -> ViewRendering:
        """Return a rendering for one user, who gives it back; it may be far from the tail."""
        rendering = self._idle.pop((state.stream_id, view), None)
        if rendering is not None and not rendering.fits(state):
            self.bytes -= rendering.size
            rendering = None
        if rendering is None:
            rendering = ViewRendering(view, state, self)
            self.started[view] += 1
            self.bytes += rendering.size
        self._used[rendering] = None
        self._keys[rendering.key] += 1
        return rendering

    def release(self, rendering: ViewRendering) -> None:
        """Keep a rendering for later readers, if it is of use to them."""
        if rendering not in self._used:
            return
        del self._used[rendering]
        self._keys -= Counter([rendering.key])
        is_cut = rendering.is_closed and not rendering.has_beginning
        if rendering.is_torn or is_cut:
            self.bytes -= rendering.size
            return
        self._drop(rendering.key)
        self._idle[rendering.key] = rendering
        self.shrink()

    def is_in_use(self, view: str, state: StreamState) -> bool:
        """Return whether a rendering of a stream has a user."""
        return (state.stream_id, view) in self._keys

    def forget(self, stream_id: int) -> None:
        """Drop what is kept of a stream for later readers."""
        for view in RENDERED:
            self._drop((stream_id, view))

    def clear(self) -> None:
        """Drop all that is kept for later readers."""
        for key in [*self._idle]:
            self._drop(key)

    def _drop(self, key: tuple[int, str]) -> None:
        rendering = self._idle.pop(key, None)
        if rendering is not None:
            self.bytes -= rendering.size

    def shrink(self) -> None:
        """Make room: those without readers go first, then what others have, in turn.

        The state of those in use is bounded by the number of readers.
        """
        while self.bytes > self.max_bytes and self._idle:
            self._drop(next(iter(self._idle)))
            self.dropped += 1
        bound = self.max_bytes + BASE_BYTES * len(self._used)
        while self.bytes > bound:
            oldest = next(iter(self._used))
            self._used.move_to_end(oldest)
            if oldest.size > BASE_BYTES:
                oldest.trim(oldest.size)  # all of it: its live readers have it already
                self.dropped += 1


STARTED = counter(
    "headgate_views_rendered_total",
    "Views of a stream that were rendered from its beginning, for all readers there were.",
    "route",
    "view",
)
MEMORY = gauge(
    "headgate_views_memory_bytes", "Bytes of rendered views that are in memory.", "route"
)
DROPPED = counter(
    "headgate_views_dropped_total",
    "Rendered views that had to make room in memory, in whole or in part.",
    "route",
)


def samples(prefix: str, store: RenderingStore) -> Iterator[Sample]:
    """Yield the present numbers."""
    for view, count in store.started.items():
        yield Sample(STARTED, (prefix, view), count)
    yield Sample(MEMORY, (prefix,), store.bytes)
    yield Sample(DROPPED, (prefix,), store.dropped)
