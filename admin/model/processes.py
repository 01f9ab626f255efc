"""The processes of a gateway, and what each of them uses."""

from __future__ import annotations

import msgspec

from admin.model.charts import Chart
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


class ProcessesView(msgspec.Struct, frozen=True):
    """The processes of this gateway, and charts of the last 15 minutes with a line for each."""

    taken_at: float
    version: str
    processes: tuple[ProcessView, ...]
    processor: Chart
    memory: Chart
    files: Chart
    loop_lag: Chart
    connections: Chart
