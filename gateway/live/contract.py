"""What a feed and its surroundings know of each other."""

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
    """When the oldest of some news was there (perf_counter), and the newest append's trace."""

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
        """Whether all are whom it was given to."""
        return self.given == self._counted

    def count(self) -> tuple[int, list[int]]:
        """How many are counted now, who were not before; `begun` of these."""
        readers, begun = self.given - self._counted, self.begun
        self._counted = self.given
        self.begun = [0] * (NOWHERE + 1)
        return readers, begun


class Waiter(Protocol):
    """A long-poll that waits at the tail."""

    @property
    def principal(self) -> Holder | None:
        """Who has it, where its route has a guard."""

    def answer(self, answer: PollAnswer) -> None:
        """Take the answer that all get who asked the same."""

    def abandon(self) -> None:
        """There is none, and the client has to ask again."""


class Answerable(Protocol):
    """Who waits for the one answer to a write."""

    def take(self) -> None:
        """It comes later."""

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
        """Whom to tell from now on."""


class Taker(Protocol):
    """A client's connection, as far as it takes parts."""

    @property
    def transport(self) -> Transport | None:
        """Where they are written; None when the client is gone."""

    def write(self, wire: bytes) -> None:
        """Write some of the answer."""

    def writelines(self, parts: Sequence[bytes]) -> None:
        """Write some of the answer that is too long to be copied."""

    @property
    def writing_paused(self) -> bool:
        """Whether the client takes less than it is sent."""

    async def drained(self) -> None:
        """Wait until most of it is taken. Raises ConnectionResetError."""


class Client(Parkable, Taker, Protocol):
    """A client's connection, which waits for an answer, or takes one in parts."""


class ReaderServer(Protocol):
    """Whom a reader has its connection from."""

    def reader_lost(self, transport: Transport) -> None:
        """The connection is gone."""

    def take_back(self, transport: Transport) -> bool:
        """The answer is over: serve the next request. False where the answer is not taken yet."""


class Parked(NamedTuple):
    """Where a waiter waits, an offset, and for how long (loop time)."""

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
    """What a feed's readers have been told up to, its `position`, and what is known beyond it.

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
        """One who was about to wait, or waited, does not any more."""

    def soon(self, step: Callable[[], None]) -> None:
        """Take a step in the next pass of the loop; whatever raises, nobody waits for ever."""


class FeedContext(Protocol):
    """What a feed uses of its process: the clock (epoch seconds), and how answers are written."""

    clock: Callable[[], float]
    admitted: AdmittedReaders

    def problem(self, error: HeadgateError) -> Response:
        """A refusal; of those who are refused together each is to come back at another time."""

    def collapsed(self, response: Response) -> tuple[Response, bytes]:
        """An answer, and the bytes of it that all who asked the same are given."""


class FeedSource(Protocol[V_contra, N_contra]):
    """Where a feed's answers and events come from: the streams of one route.

    Positions are offsets, which sort as text (PROTOCOL.md section 8).
    """

    settings: FeedSettings
    traffic: Traffic

    @property
    def shared(self) -> FeedContext:
        """What the route shares with the others of its process."""

    def news_bytes(self, news: Sequence[N_contra]) -> int:
        """How much data they have."""

    def poll_data(
        self, stream: V_contra, parked: Parked, news: Sequence[N_contra]
    ) -> Response | None:
        """The answer with what came after the waiter's position; None when the news lack it."""

    def poll_ended(self, stream: V_contra, parked: Parked) -> Response | None:
        """The answer without data: the time is over, or the stream is closed.

        None where it is not known that there are none.
        """

    def late_poll(self, stream: V_contra, parked: Parked) -> Coroutine[None, None, Response | None]:
        """The answer to a waiter whose position is not in the news; None to wait on.

        There is one when its time is over.
        """

    def data_events(
        self, stream: V_contra, start: str, news: Sequence[N_contra]
    ) -> list[DataEvent] | None:
        """News that follow `start` as data events; None when they are too long for one turn."""

    def cached_event(self, stream: V_contra, start: str) -> DataEvent | None:
        """The data event of the chunk at `start`, when it is at hand."""

    def read_event(self, stream: V_contra, start: str) -> Coroutine[None, None, DataEvent]:
        """The data event of the chunk at `start`, from where the stream lives."""


async def rendered(turns: Turns, content_type: str, body: bytes) -> bytes:
    """The data event of a read's body, in turns when that takes long."""
    if sse.is_long(body):
        return await turns.take(sse.long_data_event(content_type, body))
    return sse.data_event(content_type, body)
