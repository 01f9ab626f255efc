"""The source of a feed: the responses and events of one route's streams, and cached events."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

import msgspec

from headgate_gateway.protocol.bodies.content import (
    control_event,
    data_event,
    is_long_event,
    long_data_event,
)
from headgate_gateway.store import CacheEntry
from headgate_gateway.telemetry.traffic import CacheShare

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from headgate_gateway.background import Turns
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.live.admitted_readers import AdmittedReaders
    from headgate_gateway.live.contract import CountedReader, DataEvent, Parked
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.telemetry.traffic import Traffic

V = TypeVar("V")  # a stream as its route represents it
N = TypeVar("N")  # one piece of the stream's news


LONGEST_ROUND = 512 * 1024  # bytes rendered as events in one turn: 12 ms if all are line ends
# Readers who catch up come close behind each other, or all at once.
EVENT_CHUNK_BYTES = 32 << 20


class FeedSettings(msgspec.Struct):
    """The durations that a feed keeps to, in seconds."""

    long_poll_timeout: float
    heartbeat: float
    sse_max_age: float


class FeedContext(Protocol):
    """The part of the process that a feed needs: the clock (epoch seconds), and rendering."""

    @property
    def clock(self) -> Callable[[], float]:
        """The clock, which returns epoch seconds."""

    @property
    def admitted(self) -> AdmittedReaders:
        """The readers whose permission may end while they wait."""

    @property
    def release_reader(self) -> Callable[[], None]:
        """The function that counts one live reader less."""

    def count_live(self, reader: CountedReader) -> None:
        """Count what a reader was sent since the last call for its client and its stream."""

    def problem(self, error: HeadgateError) -> Response:
        """Return the response to an error; its Retry-After differs from that of the next."""

    def collapsed(self, response: Response) -> tuple[Response, bytes]:
        """Return the response, and its bytes for all readers with equal requests."""


class FeedSource(abc.ABC, Generic[V, N]):
    """The source of a feed's responses and events: the streams of one route.

    Positions are offsets, which sort as text (PROTOCOL.md section 8). The methods about long-polls
    have defaults for sources that serve none.
    """

    def __init__(self, services: FeedContext, settings: FeedSettings, traffic: Traffic) -> None:
        self.services = services
        self.settings = settings
        self.traffic = traffic

    @staticmethod
    def control_event(
        next_offset: str, cursor: int, *, up_to_date: bool, closed: bool, start: str = ""
    ) -> bytes:
        """Return the event that follows data for a reader at an offset; b"" if there are none.

        It names the `start` of the response, if one is given.
        """
        return control_event(next_offset, cursor, up_to_date=up_to_date, closed=closed, start=start)

    def trailers(self, position: str, *, closed: bool) -> bytes:  # noqa: ARG002
        """Return the trailer fields behind the body of a reader; by default there are none."""
        return b""

    @abc.abstractmethod
    def news_bytes(self, news: Sequence[N]) -> int:
        """Return the number of bytes of data in the news."""

    @abc.abstractmethod
    def data_events(self, stream: V, start: str, news: Sequence[N]) -> list[DataEvent] | None:
        """Return the news that follows `start` as data events; None if too long for one turn."""

    @abc.abstractmethod
    def cached_event(self, stream: V, start: str) -> DataEvent | None:
        """Return the cached data event of the chunk at `start`, or None."""

    @abc.abstractmethod
    async def read_event(self, stream: V, start: str) -> DataEvent:
        """Read the data event of the chunk at `start` from the log or origin."""

    def poll_data(
        self,
        stream: V,  # noqa: ARG002 - by default nothing is read by long-polls
        parked: Parked,  # noqa: ARG002
        news: Sequence[N],  # noqa: ARG002
    ) -> Response | None:
        """Return a response with the news after the waiter's position.

        None if `news` does not reach back to that position.
        """
        return None

    def poll_ended(self, stream: V, parked: Parked) -> Response | None:  # noqa: ARG002
        """Return the response without data, for the end of the wait or of the stream.

        None if there may be data after the waiter's position.
        """
        return None

    async def late_poll(self, stream: V, parked: Parked) -> Response | None:  # noqa: ARG002
        """Read the response for a waiter whose position the news does not reach back to.

        None lets the waiter wait on. Once its time is over, there is always a response.
        """
        return None


class EventChunk(CacheEntry):
    """The data event of one chunk, and the offset at which the chunk ends."""

    __slots__ = ("data_event", "end")

    def __init__(
        self,
        key: Hashable,
        groups: tuple[Hashable, ...],
        data_event: bytes,
        end: str,
        *,
        expires_at: float | None = None,
    ) -> None:
        # No metric includes it: its store is its route's own.
        super().__init__(key, len(data_event), groups, owner=CacheShare(), expires_at=expires_at)
        self.data_event = data_event
        self.end = end


async def rendered(turns: Turns, content_type: str, body: bytes) -> bytes:
    """Render the data event for the body of a read, in turns if the body is long."""
    if is_long_event(body):
        return await turns.run(long_data_event(content_type, body))
    return data_event(content_type, body)
