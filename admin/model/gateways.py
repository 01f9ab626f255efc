"""The processes of a gateway and the gateways that share a log, and what each of them uses."""

from __future__ import annotations

import msgspec

from admin.model.kinds import HealthState


class ProcessView(msgspec.Struct, frozen=True, kw_only=True):
    """A process at the last look; figures are None where they are not known, or do not apply."""

    name: str  # server, supervisor, worker 1
    state: HealthState
    pid: int | None
    started_at: float | None  # epoch seconds
    processor: float | None  # the share of one processor since the look before
    memory: float | None  # resident bytes
    files: float | None  # open descriptors
    most_files: float | None
    loop_lag: float | None  # seconds, p99 since the look before
    connections: float | None  # of clients
    restarts: int
    last_end: str | None  # how the process before it ended
    last_ended_at: float | None


class GatewayFacts(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway in figures: sums over its processes, or of the worst of them."""

    name: str = ""  # the address of its streams
    host: str = ""  # the name of its machine or container
    version: str = ""  # between releases with its revision, as in 0.1.0.dev20261129+g968a9479
    started_at: float | None = None
    workers: int = 1
    restarts: int = 0  # of all its workers
    processor: float | None = None  # the sum, as a share of one processor
    memory: float | None = None  # the sum
    files: float | None = None  # of the process that is nearest to its limit
    most_files: float | None = None
    loop_lag: float | None = None  # of the process whose lag is longest
    connections: float | None = None  # the sum


class GatewayView(GatewayFacts, frozen=True, kw_only=True):
    """A gateway by its own last report.

    `clock_skew` is how many seconds its clock is ahead of the one here, or behind if it is
    negative; 0 within what its reports can tell. `silent_since` is set when it reports no more.
    Then its state is good if it has announced that.
    """

    is_this: bool  # the one that serves this view
    state: HealthState
    clock_skew: float
    reported_at: float  # epoch seconds of its last report, by the clock here
    silent_since: float | None = None


class GatewaysView(msgspec.Struct, frozen=True):
    """The processes of this gateway, and all gateways that share a log, this one first."""

    taken_at: float
    processes: tuple[ProcessView, ...]
    gateways: tuple[GatewayView, ...]
