"""The feed of a view: it renders the stream's news once, and sends that to all of its readers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from headgate_gateway.background import at_once
from headgate_gateway.errors import (
    BadRequest,
    HeadgateError,
    LogUnavailable,
    StreamGone,
    StreamNotFound,
)
from headgate_gateway.features.views.messages import Group
from headgate_gateway.features.views.rendering import LONGEST_PIECE, RenderingStore, ViewRendering
from headgate_gateway.live.contract import DataEvent
from headgate_gateway.live.feed import Feed
from headgate_gateway.live.source import FeedSource
from headgate_gateway.protocol.http.header_names import NEXT_OFFSET
from headgate_gateway.protocol.responses import CLOSED_LINE
from headgate_gateway.protocol.streams.state import StreamState, records_after
from headgate_gateway.protocol.views import END_MARK, TEXT
from headgate_gateway.runtime.single_flight import SingleFlight
from headgate_gateway.streams.follower import RELOAD_S
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.live.source import FeedSettings
    from headgate_gateway.live.sse_readers import SseReader
    from headgate_gateway.protocol.streams.state import Record
    from headgate_gateway.routes.services import Services
    from headgate_gateway.streams.stream_table import StreamTable
    from headgate_gateway.telemetry.traffic import Traffic

MOST_WAITING = 8  # renderings of slow readers, of which each can go on where it has ended
NO_BOUND = 1 << 62  # a replay has no more than one chunk of the log in memory


class Replays:
    """The renderings for readers that are far behind; equal ones are shared."""

    def __init__(self, table: StreamTable, store: RenderingStore) -> None:
        self._table = table
        self._store = store
        self._flights: SingleFlight[DataEvent] = SingleFlight()
        self._waiting: list[ViewRendering] = []

    async def piece(self, view: str, state: StreamState, offset: str) -> DataEvent:
        """Return the first groups after an offset; an empty piece if there are none."""
        key = view, state.stream_id, state.version, state.history, offset
        return await self._flights.read(key, lambda: self._piece(view, state, offset))

    async def _piece(self, view: str, state: StreamState, offset: str) -> DataEvent:
        rendering = self._acquire(view, state, offset)
        while (piece := rendering.piece(offset)) is None and not rendering.is_closed:
            if rendering.position == state.tail:
                rendering.close(state)
                break
            rendering.trim(rendering.size)  # what the reader has, or nobody needs any more
            await render_chunk(rendering, state, self._table)
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
    rendering: ViewRendering, state: StreamState, table: StreamTable
) -> list[Group]:
    """Render the next chunk of a stream; return its groups.

    Raises HeadgateError if it cannot be read.
    """
    chunk = await table.read(state, rendering.position)
    if chunk.start != rendering.position or chunk.end == chunk.start:
        raise LogUnavailable("the log did not have what it had announced")
    records = list(records_after(chunk.start, chunk.records))
    return await table.turns.run(rendering.steps(records, chunk.state))


LONGEST_AT_ONCE = 16 * 1024  # bytes of news that are rendered in one turn: some milliseconds


class ViewSource(FeedSource[StreamState, Group]):
    """The FeedSource of one view of one stream: its events are the groups of its rendering."""

    def __init__(
        self,
        rendering: ViewRendering,
        replays: Replays,
        settings: FeedSettings,
        services: Services,
        traffic: Traffic,
    ) -> None:
        super().__init__(services, settings, traffic)
        self.rendering = rendering
        self._replays = replays

    @staticmethod
    @override
    def control_event(
        _next: str, _cursor: int, *, up_to_date: bool, closed: bool, start: str = ""
    ) -> bytes:
        """Return b"": views have no control events."""
        return b""

    @override
    def trailers(self, position: str, *, closed: bool) -> bytes:
        """Return where to read on, for a text, in which no id says it."""
        if self.rendering.view != TEXT:
            return b""
        offset = position.removesuffix(END_MARK)
        return f"{NEXT_OFFSET}: {offset}\r\n{CLOSED_LINE if closed else ''}".encode()

    @override
    def news_bytes(self, news: Sequence[Group]) -> int:
        return sum(len(group.data) for group in news)

    @override
    def data_events(
        self, _stream: StreamState, _start: str, news: Sequence[Group]
    ) -> list[DataEvent] | None:
        """Return the groups as one piece; None if they are too long for one turn."""
        if not news:
            return []
        if self.news_bytes(news) >= LONGEST_PIECE:  # read in pieces
            return None
        return [DataEvent(b"".join([group.data for group in news]), news[-1].end)]

    @override
    def cached_event(self, _stream: StreamState, start: str) -> DataEvent | None:
        """Return the first groups after an offset, if they are in memory."""
        return self.rendering.piece(start)

    @override
    async def read_event(self, stream: StreamState, start: str) -> DataEvent:
        """Return the first groups after an offset, rendered again if they had to make room."""
        if self.rendering.has(start):
            return self.rendering.piece(start) or DataEvent(b"", start)
        return await self._replays.piece(self.rendering.view, stream, start)


class ViewFeed(Feed[StreamState, Any]):
    """The readers of one view of one stream, which is published to it as to any feed.

    Its offsets are those after the rendering's groups.
    """

    __slots__ = ("_latest", "_reading", "_table", "rendering")

    def __init__(
        self,
        state: StreamState,
        source: ViewSource,
        on_empty: Callable[[Feed[StreamState, Any]], None],
        table: StreamTable,
    ) -> None:
        self.rendering = source.rendering
        closed = self.rendering.is_closed
        super().__init__(state, self.rendering.end, source, on_empty, closed=closed)
        self._latest = state
        self._table = table
        self._reading: asyncio.Task[None] | None = None

    @override
    def join(self, reader: SseReader) -> None:
        rendering = self.rendering
        if rendering.position == self._latest.tail and reader.position > rendering.end:
            reader.position = rendering.end  # what follows it has made no group
        super().join(reader)
        self._go_on()

    @override
    def publish(
        self,
        stream: StreamState,
        tail: str,
        news: Sequence[Record],
        *,
        closed: bool,
        caught_up: bool = True,
    ) -> None:
        """Render the news, and send what it makes to all readers."""
        self._latest = stream
        if self._reading is None:
            self.run(self._render, news)

    def _render(self, news: Sequence[Record]) -> None:
        size = sum(len(record.data) for record in news)
        begin = news[0].end - len(news[0].data) if news else None
        if begin == self.rendering.position and size <= LONGEST_AT_ONCE:
            self._publish(at_once(self.rendering.steps(news, self._latest)))
        self._go_on()

    def _go_on(self) -> None:
        """Read and render what follows, or the end of a closed stream."""
        if self._reading is not None:
            return
        if self.rendering.position < self._latest.tail:
            self._reading = asyncio.get_running_loop().create_task(self._read())
        else:
            self._publish(self.rendering.close(self._latest))

    def _publish(self, groups: Sequence[Group]) -> None:
        is_closed = self.rendering.is_closed
        if groups or is_closed != self.closed:
            end = self.rendering.end
            # One for all: a chunk may have thousands, which readers are not sent one by one.
            news = [Group(end, b"".join([group.data for group in groups]))] if groups else []
            super().publish(self._latest, end, news, closed=is_closed)

    async def _read(self) -> None:
        """Render from the log until the stream's tail."""
        try:
            while self.rendering.position < self._latest.tail:
                self._publish(await render_chunk(self.rendering, self._latest, self._table))
            self._publish(self.rendering.close(self._latest))
        except (StreamNotFound, BadRequest):
            pass  # the stream's own follower ends the readers
        except StreamGone as gone:  # what follows is no longer kept
            self.break_off(gone)
        except HeadgateError as error:
            self.suspend(error)
            asyncio.get_running_loop().call_later(RELOAD_S, self._try_again)
        except Exception:  # noqa: BLE001 - its readers would wait for what never comes
            log.exception("view.not_rendered", path=self._latest.path)
            self.cut_off()
        finally:
            self._reading = None

    def _try_again(self) -> None:
        if self.has_readers:
            self.run(self._go_on)

    def stop(self) -> None:
        """Stop to render: no reader is left."""
        if self._reading is not None:
            self._reading.cancel()
