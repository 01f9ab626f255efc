"""The values that a feed, its readers, its source and its process share, and their contracts."""

from __future__ import annotations

import abc
import asyncio
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from gateway.protocol.bodies.content import data_event, is_long_event, long_data_event
from gateway.protocol.requests import LongPoll
from gateway.store import CacheEntry
from gateway.telemetry.logs import log
from gateway.telemetry.traffic import NOWHERE, CacheShare

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Hashable, Iterator, Sequence

    from gateway.access.principal import Principal
    from gateway.background import Turns
    from gateway.errors import HeadgateError
    from gateway.live.admitted_readers import AdmittedReaders
    from gateway.protocol.responses import Response
    from gateway.telemetry.traffic import Ended, Polls, Traffic

V = TypeVar("V")  # a stream as its route represents it
N = TypeVar("N")  # one piece of the stream's news
V_contra = TypeVar("V_contra", contravariant=True)
N_contra = TypeVar("N_contra", contravariant=True)


class NewsAge(NamedTuple):
    """The arrival of the oldest of some news (perf_counter), and the trace of the newest append."""

    at: float
    trace_id: str | None


NO_AGE = NewsAge(0.0, None)  # of no news


class PollAnswer:
    """The response to equal long-polls: as a value, and as bytes.

    `ended` says what ended their wait, and `readers` is how many got the response, of which
    `counted` are in the metrics. Connections that wait without a task add themselves to
    `uncounted_resumes`, by where they began to read (an index into BEGINNINGS). `age` is that of
    the news in the response, if it has any.
    """

    __slots__ = ("age", "counted", "ended", "readers", "response", "uncounted_resumes", "wire")

    def __init__(
        self, response: Response, wire: bytes, ended: Ended, age: NewsAge | None = None
    ) -> None:
        self.response = response
        self.wire = wire
        self.ended = ended
        self.age = age
        self.readers = self.counted = 0
        self.uncounted_resumes = [0] * (NOWHERE + 1)


class ReaderClient(NamedTuple):
    """The client of a live reader: its address as trusted proxies report it, and its User-Agent.

    `number` is that of its connection, which no other connection of the process has.
    """

    number: int
    address: str | None
    user_agent: str | None


class Waiter(Protocol):
    """A long-poll that waits at the tail."""

    @property
    def principal(self) -> Principal | None:
        """The principal that was admitted with the request, if its route has a guard."""

    @property
    def client(self) -> ReaderClient:
        """The client that reads."""

    def answer(self, answer: PollAnswer) -> None:
        """Take the response, which all waiters with equal requests get."""

    def abandon(self) -> None:
        """End the wait without a response: the client has to send its request again."""


class ParkableConnection(Waiter, Protocol):
    """A client's connection, which can wait without a task."""

    def write(self, wire: bytes) -> None:
        """Write a response that was ready at once."""

    def defer(self, on_lost: Callable[[Waiter], object], counted: Polls) -> None:
        """Keep the connection for the response to a long-poll, which is counted in `counted`.

        `on_lost` is called if the client disconnects first.
        """


class ReaderServer(Protocol):
    """The server that lent a reader its connection."""

    def reader_lost(self, transport: asyncio.Transport) -> None:
        """Note that the connection is lost."""

    def resume_http(self, transport: asyncio.Transport) -> bool:
        """Serve the client's next request; return False while some of the response is unsent."""


class Parked(msgspec.Struct, frozen=True, gc=False):
    """The offset after which a waiter wants data, and when its wait ends and began (loop time)."""

    position: str
    read: LongPoll
    deadline: float
    since: float = 0.0


LOT_S = 0.05  # readers of one lot are ended together, in one turn of the loop
# A server that has just started accepts so many connections without delaying anybody.
READERS_PER_S = 1000
LONGEST_ROUND = 512 * 1024  # bytes rendered as events in one turn: 12 ms if all are line ends


class DataEvent(NamedTuple):
    """A data event, rendered without HTTP chunk framing, and the offset at which its data ends."""

    rendered: bytes
    end: str


class Round(NamedTuple, Generic[N]):
    """The news that follows the offset `start`, and its age."""

    start: str
    news: Sequence[N]
    age: NewsAge


# Data events rendered for SSE readers who catch up: they come close behind each other, or all at
# once.
EVENT_CHUNK_BYTES = 32 << 20


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


class FeedSettings(msgspec.Struct):
    """The durations that a feed keeps to, in seconds."""

    long_poll_timeout: float
    heartbeat: float
    sse_max_age: float
    drain_time: float = 0.0  # over which the readers of a feed are ended before a stop


class FeedContext(Protocol):
    """The part of the process that a feed needs: the clock (epoch seconds), and rendering."""

    clock: Callable[[], float]
    admitted: AdmittedReaders

    def problem(self, error: HeadgateError) -> Response:
        """Return the response to an error; its Retry-After differs from that of the next."""

    def collapsed(self, response: Response) -> tuple[Response, bytes]:
        """Return the response, and its bytes for all readers with equal requests."""


class FeedSource(Protocol[V_contra, N_contra]):
    """The source of a feed's responses and events: the streams of one route.

    Positions are offsets, which sort as text (PROTOCOL.md section 8).
    """

    settings: FeedSettings
    traffic: Traffic

    @property
    def services(self) -> FeedContext:
        """The context that all routes of the process share."""

    def news_bytes(self, news: Sequence[N_contra]) -> int:
        """Return the number of bytes of data in the news."""

    def control_event(
        self, next_offset: str, cursor: int, *, up_to_date: bool, closed: bool
    ) -> bytes:
        """Return the event that follows data for a reader at an offset; b"" if there are none."""

    def trailers(self, position: str, *, closed: bool) -> bytes:
        """Return the trailer fields behind the body of a reader; b"" if there are none."""

    def poll_data(
        self, stream: V_contra, parked: Parked, news: Sequence[N_contra]
    ) -> Response | None:
        """Return a response with the news after the waiter's position.

        None if `news` does not reach back to that position.
        """

    def poll_ended(self, stream: V_contra, parked: Parked) -> Response | None:
        """Return the response without data, for the end of the wait or of the stream.

        None if there may be data after the waiter's position.
        """

    def late_poll(self, stream: V_contra, parked: Parked) -> Coroutine[None, None, Response | None]:
        """Read the response for a waiter whose position the news does not reach back to.

        None lets the waiter wait on. Once its time is over, there is always a response.
        """

    def data_events(
        self, stream: V_contra, start: str, news: Sequence[N_contra]
    ) -> list[DataEvent] | None:
        """Return the news that follows `start` as data events; None if too long for one turn."""

    def cached_event(self, stream: V_contra, start: str) -> DataEvent | None:
        """Return the cached data event of the chunk at `start`, or None."""

    def read_event(self, stream: V_contra, start: str) -> Coroutine[None, None, DataEvent]:
        """Read the data event of the chunk at `start` from the log or origin."""


class FeedState(abc.ABC, Generic[V]):
    """The state of a feed's stream, and the times of the feed's steps.

    `stream` is the stream as its route represents it, and `tail` is the offset at which it ends.
    Rounds were sent up to the offset `position`. `caught_up` is True while nothing is known to
    follow the tail. `lost` is the reason why no news can arrive at the moment, if there is one.

    A failure in a step leaves no reader waiting for one that never comes: it is logged, and all
    readers are cut off. `call_soon` runs a step so in the next pass of the loop. `due` is the time
    of the next `_tick` (loop time), `inf` while none is set.
    """

    __slots__ = (
        *("_timer", "call_soon", "caught_up", "closed", "due", "loop", "lost", "position"),
        *("source", "stream", "tail"),
    )

    def __init__(self, stream: V, tail: str, source: FeedSource[V, Any], *, closed: bool) -> None:
        self.stream = stream
        self.tail = self.position = tail
        self.source = source
        self.closed = closed
        self.caught_up = True
        self.lost: HeadgateError | None = None
        self.loop = asyncio.get_running_loop()
        # A partial, not a method: a requested step is lost only if the loop itself fails.
        self.call_soon: Callable[..., asyncio.Handle] = partial(
            self.loop.call_soon,
            self.run,  # type: ignore[arg-type] # its arguments come with each call
        )
        self.due = inf
        self._timer: asyncio.TimerHandle | None = None

    @abc.abstractmethod
    def cut_off(self) -> None:
        """Close the connections of all readers, whose clients resume from their offsets."""

    @abc.abstractmethod
    def release_reader(self) -> None:
        """Count one reader less, which waited or was about to wait."""

    @abc.abstractmethod
    def _tick(self) -> None:
        """Do what is due."""

    def run(self, step: Callable[..., None], *arguments: object) -> None:
        """Call `step` now; if it fails, cut all readers off."""
        try:
            step(*arguments)
        except Exception:  # noqa: BLE001 - the readers must not wait for ever
            log.exception("feed.failed")
            self.cut_off()

    def set_timer(self, due: float) -> None:
        """Call `_tick` at a time of the loop, unless an earlier call is set already."""
        if due < self.due:
            self.cancel_timer()
            self.due = due
            self._timer = self.loop.call_at(due, self.run, self._on_timer)

    def cancel_timer(self) -> None:
        """Cancel the call, if one is set."""
        self.due = inf
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timer(self) -> None:
        self.due, self._timer = inf, None
        self._tick()


def drain_times(now: float, count: int, longest_s: float) -> Iterator[float]:
    """Yield a time for each of `count` readers, from `now` on in ascending order.

    The readers of a stream are ended at READERS_PER_S, and sooner where that takes over `longest_s`
    seconds.
    """
    span = min(longest_s, count / READERS_PER_S)
    for number in range(count):
        yield now + number * span / count // LOT_S * LOT_S


def no_trailers(_position: str, *, closed: bool) -> bytes:  # noqa: ARG001 - as of a FeedSource
    """Return b"", for responses whose events say where to read on."""
    return b""


async def rendered(turns: Turns, content_type: str, body: bytes) -> bytes:
    """Render the data event for the body of a read, in turns if the body is long."""
    if is_long_event(body):
        return await turns.run(long_data_event(content_type, body))
    return data_event(content_type, body)
