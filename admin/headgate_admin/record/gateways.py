"""A gateway of those that share a log: its last report on itself, and whether it is silent."""

from __future__ import annotations

import math
import socket
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from headgate_admin.model.kinds import HealthState
from headgate_admin.record.figures import between

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from headgate_admin.model.kinds import Level
    from headgate_admin.record.figures import Row
    from headgate_admin.record.processes import ProcessView

MISSED_LOOKS = 2  # after the 15 s for which Redis keeps a report; at one, it may only be late
LONGEST_TEXT = 200  # characters of a name, which another gateway may have set
# A report may be two looks old when it is read, and of its last ones the newest counts.
LEADS = 6
LONGEST_DELAY_S = 12.0
SKEW_S = 1.0  # no report is from the future, but clocks that are synchronised differ by less
_LEVELS: Mapping[str, Level] = {"good": "good", "warning": "warning", "bad": "bad"}


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


class GatewayReport(GatewayFacts, frozen=True, omit_defaults=True, kw_only=True):
    """A gateway about itself, for the others. Other versions may have other fields, or fewer."""

    level: str = "good"  # with `words`, its state
    words: str = ""
    is_stopping: bool = False
    at: float | None = None  # epoch seconds by its own clock


NUMBERS = ("processor", "memory", "files", "most_files", "loop_lag", "connections")
MOMENTS = ("started_at", "at")
TEXTS = ("name", "host", "version", "words")
_decoder = msgspec.json.Decoder(GatewayReport)


def parse_report(instance: str, encoded: bytes | msgspec.Raw) -> GatewayReport:
    """Return the report of another gateway, with its name alone if it is empty or malformed."""
    try:
        report = _decoder.decode(encoded)
    except msgspec.MsgspecError:
        report = GatewayReport()
    texts = {field: getattr(report, field)[:LONGEST_TEXT] for field in TEXTS}
    texts["name"] = texts["name"] or instance.rpartition("/")[0][:LONGEST_TEXT]
    numbers = {field: _measurement(getattr(report, field)) for field in (*NUMBERS, *MOMENTS)}
    return replace(report, **texts, **numbers)


def _measurement(number: float | None) -> float | None:
    is_valid = number is not None and math.isfinite(number) and number >= 0
    return number if is_valid else None


def report_on(
    name: str, state: HealthState, processes: Sequence[ProcessView], now: float, *, stops: bool
) -> GatewayReport:
    """Return the report of this gateway at `now`, in epoch seconds, without its version."""
    serving = [it for it in processes if it.connections is not None]
    fullest = max(processes, key=_fullness, default=None)
    return GatewayReport(
        name=name,
        host=socket.gethostname(),
        level=state.level,
        words=state.words,
        is_stopping=stops,
        at=now,
        started_at=processes[0].started_at if processes else None,
        workers=max(1, len(processes) - 1),  # beside several there is their supervisor
        restarts=sum(it.restarts for it in processes),
        processor=_sum(it.processor for it in processes),
        memory=_sum(it.memory for it in processes),
        files=None if fullest is None else fullest.files,
        most_files=None if fullest is None else fullest.most_files,
        loop_lag=max((it.loop_lag for it in serving if it.loop_lag is not None), default=None),
        connections=_sum(it.connections for it in processes),
    )


def _sum(numbers: Iterable[float | None]) -> float | None:
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _fullness(process: ProcessView) -> float:
    return (process.files or 0.0) / (process.most_files or math.inf)


class Peer:
    """A gateway, this one or another, from its first report on."""

    def __init__(self) -> None:
        self.report = GatewayReport()
        self.reported_at = 0.0
        self.has_reported = False  # at the last look
        self.missed = 0  # looks in a row
        self.totals: Mapping[str, Row] = {}  # what it had counted by then, by route
        self._leads: deque[float] = deque(maxlen=LEADS)

    def update(self, now: float, report: GatewayReport) -> None:
        """Take a report, which may be the last one again: Redis keeps it for a while."""
        if report.at is None or report.at != self.report.at:
            self.reported_at = now
            self._leads += [] if report.at is None else [report.at - now]
        self.report, self.has_reported, self.missed = report, True, 0

    def miss(self, *, is_whole: bool) -> None:
        """Note that no report came; it is missing only if every log was read."""
        self.has_reported, self.totals = False, {}
        self.missed += is_whole

    def counted(self, totals: Mapping[str, Row], seconds: float) -> dict[str, list[float]]:
        """Return the counts by route since the last totals, without routes that are new."""
        before, self.totals = self.totals, totals
        return {it: between(before[it], totals[it], seconds) for it in totals if it in before}

    def view(self, *, is_this: bool) -> GatewayView:
        """Return the gateway with its state, which is not the reported one if it is silent."""
        report, is_silent = self.report, self.missed >= MISSED_LOOKS
        state = HealthState(_LEVELS.get(report.level, "warning"), report.words or "serving")
        if is_silent:
            is_over = report.is_stopping
            state = HealthState("good", "stopped") if is_over else HealthState("bad", "silent")
        # A report is late, so the largest lead of its clock is the nearest.
        lead = max(self._leads, default=0.0)
        return GatewayView(
            **{field: getattr(report, field) for field in GatewayFacts.__struct_fields__},
            is_this=is_this,
            state=state,
            clock_skew=0.0 if -LONGEST_DELAY_S <= lead <= SKEW_S else round(lead, 1),
            reported_at=self.reported_at,
            silent_since=self.reported_at if is_silent else None,
        )
