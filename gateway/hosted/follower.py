"""Who tells a feed of its stream's commits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.errors import (
    BadRequest,
    HeadgateError,
    LogUnavailable,
    StreamGone,
    StreamNotFound,
)
from gateway.protocol.generations import position_of
from gateway.protocol.offsets import parse_offset
from gateway.protocol.state import Record
from gateway.streams.reload_queue import RELOAD_S
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.hosted.chunk_reader import ChunkReader
    from gateway.live.feed import Feed
    from gateway.protocol.state import StreamState
    from gateway.streams.stream_table import StreamTable


class HostedFollower:
    """Passes a stream's commits on to its feed, and reads those that it was not told of."""

    def __init__(
        self, feed: Feed[StreamState, Record], table: StreamTable, reader: ChunkReader
    ) -> None:
        self.feed = feed
        self._table = table
        self._reader = reader
        self._latest = feed.stream
        self._reading: asyncio.Task[None] | None = None

    @property
    def has_readers(self) -> bool:
        """Whether anybody waits for the stream right now."""
        return self.feed.has_readers

    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        """The stream moved to `state`; what lies between the feed and the records is read."""
        if state.soft_deleted:
            self.feed.end(StreamGone("the stream was deleted; forks of it still use its data"))
            return
        if state.stream_id != self._latest.stream_id:
            self.feed.end(StreamNotFound("the stream was deleted, and another one is at its path"))
            return
        self._latest = state
        if self._reading is not None:
            return  # and it will come to these
        begin = state.tail - sum(len(record.data) for record in records)
        if state.offset(begin) == self.feed.tail:
            tail = state.offset(state.tail)
            self.feed.publish(state, tail, records, closed=state.closed)
        else:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def ended(self) -> None:
        """The stream is gone."""
        self.feed.end(StreamNotFound("the stream was deleted"))

    async def _read(self) -> None:
        """Bring the feed to where the stream is."""
        try:
            while await self._read_on():
                pass
        except StreamNotFound:
            pass  # `ended` tells
        except StreamGone as gone:  # what is before the feed's tail is lost
            self.feed.break_off(gone)
        except BadRequest:
            pass  # the feed is ahead: what was published is older than it
        except HeadgateError as error:
            self.feed.lose(error)
            path = self.feed.stream.path
            asyncio.get_running_loop().call_later(RELOAD_S, self._table.missed, path)
        except Exception:  # noqa: BLE001 - its readers would wait for what never comes
            log.exception("stream.not_read", path=self.feed.stream.path)
            self.feed.cut_off()
        finally:
            self._reading = None

    async def _read_on(self) -> bool:
        """One chunk further; whether there is more."""
        state = self._latest
        start = position_of(state, parse_offset(self.feed.tail, "offset"))
        if start == state.tail:
            self.feed.publish(state, self.feed.tail, (), closed=state.closed)
            return False
        chunk = await self._reader.chunk(state, start)
        is_same = chunk.state.history == state.history and self.feed.tail == state.offset(start)
        if not is_same or chunk.end == start:
            raise LogUnavailable("the log did not have what it told of")
        records = []
        position = start
        for data in chunk.records:
            position += len(data)
            records.append(Record(position, data))
        whole = chunk.end == self._latest.tail
        self.feed.publish(
            self._latest,
            chunk.state.offset(chunk.end),
            records,
            closed=whole and self._latest.closed,
            caught_up=whole,
        )
        return not whole
