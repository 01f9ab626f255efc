"""The contracts between a feed, its readers, its source and its process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from gateway.protocol.bodies import sse
from gateway.telemetry.traffic import NOWHERE

if TYPE_CHECKING:
    from asyncio import Transport
    from collections.abc import Callable, Coroutine, Sequence

    from gateway.errors import HeadgateError
    from gateway.live.admitted import AdmittedReaders, Holder
    from gateway.protocol.requests import LongPoll
    from gateway.protocol.responses import Response
    from gateway.telemetry.inspection import ReaderMode
    from gateway.telemetry.live_traffic import Ended
    from gateway.telemetry.traffic import Polls, Traffic
    from gateway.turns import Turns

V = TypeVar("V")  # a stream as its route knows it
N = TypeVar("N")  # a piece of news of it
V_contra = TypeVar("V_contra", contravariant=True)
N_contra = TypeVar("N_contra", contravariant=True)


class NewsAge(NamedTuple):
    """The arrival of the oldest of some news (perf_counter), and the newest append's trace."""

    at: float
    trace_id: str | None


class PollAnswer:
    """The answer of equal long-polls: a value, and the bytes of it.

    `ended` says what ended the wait of those whom it was `given` to. Of these `begun` has those
    whom no task counts, by where they began to read (an index into BEGINNINGS), until they are
    counted. `told` is of the news in it, where it has some.
    """

    __slots__ = ("_counted", "begun", "ended", "given", "response", "told", "wire")

    def __init__(
        self, response: Response, wire: bytes, ended: Ended, told: NewsAge | None = None
    ) -> None:
        self.response = response
        self.wire = wire
        self.ended = ended
        self.told = told
        self.given = self._counted = 0
        self.begun = [0] * (NOWHERE + 1)

    @property
    def is_counted(self) -> bool:
        """True if every reader that got the response is counted."""
        return self.given == self._counted

    def count(self) -> tuple[int, list[int]]:
        """Count the readers not counted before; return their number, and it by how reads began."""
        readers, begun = self.given - self._counted, self.begun
        self._counted = self.given
        self.begun = [0] * (NOWHERE + 1)
        return readers, begun


class Waiter(Protocol):
    """A long-poll that waits at the tail."""

    @property
    def principal(self) -> Holder | None:
        """The principal that is admitted with the reader, where its route has a guard."""

    def answer(self, answer: PollAnswer) -> None:
        """Take the answer that all get who asked the same."""

    def abandon(self) -> None:
        """There is none, and the client has to ask again."""


class Answerable(Protocol):
    """A connection that waits for the one response to a write."""

    def take(self) -> None:
        """Note that the response comes later."""

    def reply(self, wire: bytes) -> bool:
        """Give it; whether the client is there still."""

    def abandon(self) -> None:
        """There is none."""


class Parkable(Waiter, Protocol):
    """A client's connection, which can wait without a task."""

    def write(self, wire: bytes) -> None:
        """Write an answer that was ready at once."""

    def take(
        self, on_lost: Callable[[Waiter], object] | None = None, counted: Polls | None = None
    ) -> None:
        """Keep it for an answer that comes later, and say whom to tell when its client leaves.

        A long-poll says where it is `counted`.
        """

    def reply(self, wire: bytes) -> bool:
        """Write the answer for which it was kept; whether the client is there still."""

    def tell_loss(self, on_lost: Callable[[Waiter], object] | None) -> None:
        """Set the callback for a lost client; None for none."""


class Taker(Protocol):
    """A client's connection, as far as it takes parts."""

    @property
    def transport(self) -> Transport | None:
        """The transport that events are written to; None when the client is gone."""

    def write(self, wire: bytes) -> None:
        """Write some of the answer."""

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Write some of the answer that is too long to be copied."""

    @property
    def writing_paused(self) -> bool:
        """True while the client takes less than it is sent."""

    async def drained(self) -> None:
        """Wait until most of it is taken. Raises ConnectionResetError."""


class Client(Parkable, Taker, Protocol):
    """A client's connection, which waits for an answer, or takes one in parts."""


class ReaderServer(Protocol):
    """The server that lent a reader its connection."""

    def reader_lost(self, transport: Transport) -> None:
        """Note that the connection is lost."""

    def take_back(self, transport: Transport) -> bool:
        """Serve the next request after the response; return False while that is not taken yet."""


class Parked(NamedTuple):
    """The offset at which a waiter waits, and until when (loop time)."""

    position: str
    read: LongPoll
    deadline: float


class ReaderState(NamedTuple):
    """A live reader as an operator sees it: the offset that it was told up to, and how it is."""

    mode: ReaderMode
    offset: str
    state: str  # live, catching up, or slow


LONGEST_ROUND = 512 * 1024  # bytes that are made into events at once: 12 ms for mere line ends


class DataEvent(NamedTuple):
    """A data event, rendered but for its chunk's framing, and the offset at which its data ends."""

    rendered: bytes
    end: str


class FeedSettings(NamedTuple):
    """Times in seconds."""

    long_poll_timeout: float
    heartbeat: float
    sse_max_age: float


class FeedState(Protocol[V]):
    """The `position` up to which a feed's readers were notified, and what is known beyond it.

    `stream` is the stream as its route knows it, `tail` where it ends. `caught_up` says that
    nothing is known to follow the tail, `lost` why news cannot come at the moment.
    """

    stream: V
    tail: str
    position: str
    closed: bool
    caught_up: bool
    lost: HeadgateError | None

    def left(self) -> None:
        """Count one reader less: it waited, or was about to wait."""

    def soon(self, step: Callable[[], None]) -> None:
        """Take a step in the next pass of the loop; whatever raises, nobody waits for ever."""


class FeedContext(Protocol):
    """A feed's view of its process: the clock (epoch seconds), and how responses are written."""

    clock: Callable[[], float]
    admitted: AdmittedReaders

    def problem(self, error: HeadgateError) -> Response:
        """Return a refusal; clients refused together are told different times to return."""

    def collapsed(self, response: Response) -> tuple[Response, bytes]:
        """Return a response, and it as bytes for all readers with equal requests."""


class FeedSource(Protocol[V_contra, N_contra]):
    """The source of a feed's responses and events: the streams of one route.

    Positions are offsets, which sort as text (PROTOCOL.md section 8).
    """

    settings: FeedSettings
    traffic: Traffic

    @property
    def shared(self) -> FeedContext:
        """The context that all routes of the process share."""

    def news_bytes(self, news: Sequence[N_contra]) -> int:
        """Return the number of bytes of data in the news."""

    def poll_data(
        self, stream: V_contra, parked: Parked, news: Sequence[N_contra]
    ) -> Response | None:
        """Return a response with the news after the waiter's position; None if they lack it."""

    def poll_ended(self, stream: V_contra, parked: Parked) -> Response | None:
        """Return the response without data: the time is over, or the stream is closed.

        None where it is not known that there are none.
        """

    def late_poll(self, stream: V_contra, parked: Parked) -> Coroutine[None, None, Response | None]:
        """Return the response to a waiter whose position is not in the news; None to wait on.

        There is one when its time is over.
        """

    def data_events(
        self, stream: V_contra, start: str, news: Sequence[N_contra]
    ) -> list[DataEvent] | None:
        """News that follow `start` as data events; None when they are too long for one turn."""

    def cached_event(self, stream: V_contra, start: str) -> DataEvent | None:
        """Return the cached data event of the chunk at `start`, or None."""

    def read_event(self, stream: V_contra, start: str) -> Coroutine[None, None, DataEvent]:
        """Read the data event of the chunk at `start` from the log or origin."""


async def rendered(turns: Turns, content_type: str, body: bytes) -> bytes:
    """Render the data event of a read's body, in turns when that takes long."""
    if sse.is_long(body):
        return await turns.take(sse.long_data_event(content_type, body))
    return sse.data_event(content_type, body)
