"""The processes of a gateway and the gateways that share a log, and what each of them uses."""

from __future__ import annotations

import msgspec

from admin.model.charts import Chart
from admin.model.kinds import HealthState, Span


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


class GatewayView(msgspec.Struct, frozen=True, kw_only=True):
    """A gateway by its own last report: sums of its processes, or of the worst of them.

    `silent_since` is set when it reports no more. Then its state is good if it has announced that.
    """

    name: str  # the address of its streams
    host: str  # the name of its machine or container
    is_this: bool  # the one that serves this view
    state: HealthState
    version: str
    started_at: float | None
    workers: int
    restarts: int  # of all its workers
    processor: float | None  # the sum, as a share of one processor
    memory: float | None  # the sum
    files: float | None  # of the process that is nearest to its limit
    most_files: float | None
    loop_lag: float | None  # of the process whose lag is longest
    connections: float | None  # the sum
    reported_at: float  # epoch seconds of its last report
    silent_since: float | None = None


class UsageCharts(msgspec.Struct, frozen=True):
    """Charts of each figure: a point is the highest value of its time."""

    processor: Chart
    memory: Chart
    files: Chart
    loop_lag: Chart
    connections: Chart


class ProcessesView(msgspec.Struct, frozen=True):
    """The processes of this gateway and the gateways that share a log with it, over a span.

    `gateways` is empty if no log is shared, and has this one first otherwise.
    """

    taken_at: float
    span: Span
    version: str
    processes: tuple[ProcessView, ...]
    charts: UsageCharts  # with a line for each process
    gateways: tuple[GatewayView, ...]
    gateway_charts: UsageCharts
