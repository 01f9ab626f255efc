"""The contract of live reads: what waits in a feed, and what it gets."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import msgspec

from headgate_gateway.protocol.requests import LongPoll
from headgate_gateway.telemetry.traffic import NOWHERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.access.principal import Principal
    from headgate_gateway.protocol.responses import Response
    from headgate_gateway.telemetry.traffic import Ended, Polls


class PollAnswer:
    """The response to equal long-polls: as a value, and as bytes.

    `ended` says what ended their wait, and `readers` is how many got the response, of which
    `counted` are in the metrics. Connections that wait without a task add themselves to
    `uncounted_resumes`, by where they began to read (an index into BEGINNINGS). `arrived_at` is
    when the oldest news in the response arrived (perf_counter), None if it has none.
    """

    __slots__ = (
        "arrived_at",
        "counted",
        "ended",
        "readers",
        "response",
        "uncounted_resumes",
        "wire",
    )

    def __init__(
        self, response: Response, wire: bytes, ended: Ended, arrived_at: float | None = None
    ) -> None:
        self.response = response
        self.wire = wire
        self.ended = ended
        self.arrived_at = arrived_at
        self.readers = self.counted = 0
        self.uncounted_resumes = [0] * (NOWHERE + 1)


class ReaderClient(NamedTuple):
    """The client of a live reader: its address as trusted proxies report it, and its User-Agent.

    `number` is that of its connection, which no other connection of the process has, and `path`
    that of the stream that it reads. `accepts_trailers` says whether it is sent trailer fields.
    """

    number: int
    path: str
    address: str | None
    user_agent: str | None
    accepts_trailers: bool = False


class CountedReader(Protocol):
    """A live reader whose `sent_bytes` are counted from time to time; `counted_bytes` were."""

    client: ReaderClient
    principal: Principal | None
    sent_bytes: int
    counted_bytes: int


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

    def write(self, wire: bytes, size: int) -> None:
        """Write a response that was ready at once, with a body of `size` bytes."""

    def defer(self, on_lost: Callable[[Waiter], object], counted: Polls) -> None:
        """Keep the connection for the response to a long-poll, which is counted in `counted`.

        `on_lost` is called if the client disconnects first.
        """


class Parked(msgspec.Struct, frozen=True, gc=False):
    """The offset after which a waiter wants data, and when its wait ends and began (loop time)."""

    position: str
    read: LongPoll
    deadline: float
    since: float = 0.0


class DataEvent(NamedTuple):
    """A data event, rendered without HTTP chunk framing, and the offset at which its data ends."""

    rendered: bytes
    end: str
