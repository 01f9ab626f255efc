"""The follower of one stream, which passes its commits to the feeds of the stream's readers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from typing_extensions import override

from gateway.errors import BadRequest, HeadgateError, LogUnavailable, StreamGone, StreamNotFound
from gateway.live.feed import Feed
from gateway.protocol.streams.offsets import parse_offset
from gateway.protocol.streams.state import Record, StreamState, position_of, records_after
from gateway.streams.active_stream import StreamFollower
from gateway.streams.stream_loader import RELOAD_S
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from gateway.streams.active_stream import ActiveStream
    from gateway.streams.reads import ChunkReader
    from gateway.streams.stream_table import StreamTable

    HostedFeed: TypeAlias = Feed[StreamState, Any]


def feeds_of(active: ActiveStream) -> list[HostedFeed]:
    """Return the feeds of a stream's live readers in this process."""
    return [] if active.follower is None else list(active.follower.feeds.values())


class HostedFollower(StreamFollower):
    """A follower that passes a stream's commits to its feeds, and reads those it missed."""

    def __init__(self, state: StreamState, table: StreamTable, reader: ChunkReader) -> None:
        super().__init__(state)
        self._table = table
        self._reader = reader
        self._latest = state
        self._reading: asyncio.Task[None] | None = None

    @override
    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        """Publish the stream's new state and records; read what lies between the feeds and them."""
        if state.soft_deleted:
            self._end(StreamGone("the stream was deleted; forks of it still use its data"))
            return
        if state.stream_id != self._latest.stream_id:
            self._end(StreamNotFound("the stream was deleted, and another one is at its path"))
            return
        self._latest = state
        if self._reading is not None:
            return  # the read under way reaches these records too
        begin = records[0].end - len(records[0].data) if records else state.tail
        if state.offset(begin) == self.tail:
            active, trace_id = self._table.peek(state.path), None
            if active is not None:  # the next notification may be another gateway's
                trace_id, active.trace_id = active.trace_id, None
            self._publish(state, state.offset(state.tail), records, trace_id=trace_id)
        else:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def _publish(
        self,
        state: StreamState,
        tail: str,
        records: Sequence[Record],
        *,
        caught_up: bool = True,
        trace_id: str | None = None,
    ) -> None:
        closed = caught_up and state.closed
        self.stream, self.tail, self.is_caught_up = state, tail, caught_up
        for feed in list(self.feeds.values()):  # it may remove itself
            feed.publish(
                state, tail, records, closed=closed, caught_up=caught_up, trace_id=trace_id
            )

    @override
    def ended(self) -> None:
        """Close the feeds because their stream was deleted."""
        self._end(StreamNotFound("the stream was deleted"))

    def _each(self, act: Callable[[HostedFeed], None]) -> None:
        """Call `act` with each feed; it may remove the feed."""
        for feed in list(self.feeds.values()):
            act(feed)

    def _end(self, reason: HeadgateError) -> None:
        self._each(lambda feed: feed.end(reason))

    def _suspend(self, reason: HeadgateError) -> None:
        """Let the readers wait until the stream has been loaded anew."""
        self._each(lambda feed: feed.suspend(reason))
        path = self.stream.path
        asyncio.get_running_loop().call_later(RELOAD_S, self._table.reload, path)

    async def _read(self) -> None:
        """Read from the log until the feeds are at the stream's tail."""
        try:
            while await self._read_on():
                pass
        except StreamNotFound:
            pass  # `ended` closes the feeds
        except StreamGone as gone:  # what is before the feeds' tail is lost
            self._each(partial(Feed.break_off, reason=gone))
        except BadRequest:
            pass  # the feeds are ahead: what was published is older than they
        except HeadgateError as error:
            self._suspend(error)
        except Exception:  # noqa: BLE001 - its readers would wait for what never comes
            log.exception("stream.not_read", path=self.stream.path)
            self._each(Feed.cut_off)
        finally:
            self._reading = None

    async def _read_on(self) -> bool:
        """Publish the next chunk; return whether more follows."""
        state = self._latest
        start = position_of(state, parse_offset(self.tail, "offset"))
        if start == state.tail:
            self._publish(state, self.tail, ())
            return False
        chunk = await self._reader.chunk(state, start)
        is_same = chunk.state.history == state.history and self.tail == state.offset(start)
        if not is_same or chunk.end == start:
            raise LogUnavailable("the log did not have what it told of")
        whole = chunk.end == self._latest.tail
        records = list(records_after(chunk.start, chunk.records))
        self._publish(self._latest, chunk.state.offset(chunk.end), records, caught_up=whole)
        return not whole
