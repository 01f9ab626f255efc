"""Counts of the live readers of one route, as plain numbers.

Only the event loop touches them. A round is counted as one, however many readers it is written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Protocol, get_args

from gateway.telemetry.metrics import Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

# What ended a live read. `closed`: the stream was closed, or is gone; `slow`: it did not read;
# `expired` and `revoked`: so is the credential that it was admitted by; `disconnected`: by an
# operator.
Ended = Literal[
    "answered",
    "timeout",
    "client",
    "closed",
    "slow",
    "drain",
    "error",
    "expired",
    "revoked",
    "disconnected",
]
ENDS: Sequence[Ended] = get_args(Ended)

DELIVERY_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
READERS: tuple[float, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class SlowReader(Protocol):
    """A reader that does not take what was written to it."""

    def unsent_bytes(self) -> int:
        """Return how many bytes the reader has not taken yet."""


class LiveReaders:
    """The live readers of one mode. A delivery is a piece of news written to one reader."""

    __slots__ = ("bytes", "deliveries", "departures", "joins")

    def __init__(self) -> None:
        self.joins = 0
        self.departures: dict[Ended, int] = dict.fromkeys(ENDS, 0)
        self.deliveries = 0
        self.bytes = 0

    @property
    def now(self) -> int:
        """Number of readers that wait or are written to."""
        return self.joins - sum(self.departures.values())

    def delivered(self, readers: int, size: int, pieces: int = 1) -> None:
        """Count pieces that have `size` bytes together, and were written to so many readers."""
        self.deliveries += readers * pieces
        self.bytes += readers * size


class LiveTraffic:
    """The live counts of one route: `event_bytes` has all bytes of SSE, heartbeats included."""

    def __init__(self) -> None:
        self.sse = LiveReaders()
        self.long_poll = LiveReaders()
        self.event_bytes = 0
        self.delays = Histogram(DELIVERY_SECONDS)
        self.collapsed = Histogram(READERS)
        self.detached = 0
        self.slow: set[SlowReader] = set()

    def wrote_events(self, readers: int, size: int, news: int) -> None:
        """Count `size` bytes with `news` pieces of news, written to each of so many SSE readers."""
        self.event_bytes += readers * size
        if news:
            self.sse.delivered(readers, size, news)
