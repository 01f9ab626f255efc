"""The follower of one stream, which passes its commits to the feeds of the stream's readers."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any

from headgate_gateway.errors import (
    BadRequest,
    HeadgateError,
    LogUnavailable,
    StreamGone,
    StreamNotFound,
)
from headgate_gateway.live.feed import Feed
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Record, StreamState, position_of, records_after
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import TypeAlias

    from headgate_gateway.protocol.streams.chunks import Chunk
    from headgate_gateway.protocol.views import View

    HostedFeed: TypeAlias = Feed[StreamState, Any]

RELOAD_S = 0.5  # until a log that could not be read is read again


class StreamFollower:
    """A follower of a stream's commits for its live readers, called in their order on the loop.

    It passes them to the feeds of the readers, one for each view with readers, and reads
    commits that it missed. All feeds have the news up to the offset `tail` of `stream`;
    `is_caught_up` says whether nothing is known to follow it.
    """

    def __init__(
        self,
        stream: StreamState,
        read: Callable[[StreamState, int], Coroutine[Any, None, Chunk]],
        reload: Callable[[str], None],
    ) -> None:
        """`read` reads the chunk at a position; `reload` loads the stream at a path anew."""
        self.feeds: dict[View, HostedFeed] = {}
        self.stream = stream
        self.tail = stream.offset(stream.tail)
        self.is_caught_up = True
        self._read_chunk = read
        self._reload = reload
        self._latest = stream
        self._reading: asyncio.Task[None] | None = None

    @property
    def has_readers(self) -> bool:
        """True while a reader waits for the stream."""
        return any(feed.has_readers for feed in self.feeds.values())

    def published(self, state: StreamState, records: Sequence[Record]) -> None:
        """Publish the stream's new state and the records appended last, if these are known.

        The records between the feeds' tail and these are read.
        """
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
            self._publish(state, state.offset(state.tail), records)
        else:
            self._reading = asyncio.get_running_loop().create_task(self._read())

    def _publish(
        self,
        state: StreamState,
        tail: str,
        records: Sequence[Record],
        *,
        caught_up: bool = True,
    ) -> None:
        closed = caught_up and state.closed
        self.stream, self.tail, self.is_caught_up = state, tail, caught_up
        for feed in list(self.feeds.values()):  # it may remove itself
            feed.publish(state, tail, records, closed=closed, caught_up=caught_up)

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
        asyncio.get_running_loop().call_later(RELOAD_S, self._reload, self.stream.path)

    async def _read(self) -> None:
        """Read from the log until the feeds are at the stream's tail."""
        try:
            while await self._read_on():
                pass
        except StreamNotFound:
            pass  # `ended` closes the feeds
        except StreamGone as gone:  # data before the feeds' tail are lost
            self._each(partial(Feed.break_off, reason=gone))
        except BadRequest:
            pass  # the feeds are ahead: the published news are older
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
        chunk = await self._read_chunk(state, start)
        is_same = chunk.state.history == state.history and self.tail == state.offset(start)
        if not is_same or chunk.end == start:
            raise LogUnavailable("the log did not have what it announced")
        whole = chunk.end == self._latest.tail
        records = list(records_after(chunk.start, chunk.records))
        self._publish(self._latest, chunk.state.offset(chunk.end), records, caught_up=whole)
        return not whole
