"""The record of the gateways that share a log: their last reports, and which are silent."""

from __future__ import annotations

import math
import socket
from collections import deque
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from admin.model.gateways import GatewayFacts, GatewaysView, GatewayView
from admin.model.kinds import HealthState
from admin.processes.process_record import ProcessRecord
from gateway.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from admin.model.gateways import ProcessView
    from admin.model.kinds import Level

MISSED_LOOKS = 2  # after the 15 s for which Redis keeps a report; at one, it may only be late
KEPT_SILENT_S = 3600.0  # long enough to see what is missing, after an alert too
MOST_SILENT = 64  # as many as there may be gateways; the longest silent ones are forgotten first
LONGEST_TEXT = 200  # characters of a name, which another gateway may have set
# A report may be two looks old when it is read, and of its last ones the newest counts.
LEADS = 6
LONGEST_DELAY_S = 12.0
SKEW_S = 1.0  # no report is from the future, but clocks that are synchronised differ by less
NUMBERS = (
    "processor",
    "memory",
    "files",
    "most_files",
    "loop_lag",
    "connections",
    "started_at",
    "at",
)
_LEVELS: Mapping[str, Level] = {"good": "good", "warning": "warning", "bad": "bad"}


class GatewayReport(GatewayFacts, frozen=True, omit_defaults=True, kw_only=True):
    """A gateway about itself, for the others. Other versions may have other fields, or fewer."""

    level: str = "good"  # with `words`, its state
    words: str = ""
    is_stopping: bool = False
    at: float | None = None  # epoch seconds by its own clock


_decoder = msgspec.json.Decoder(GatewayReport)


def parse_report(instance: str, encoded: bytes | msgspec.Raw) -> GatewayReport:
    """Return the report of another gateway, with its name alone if it is empty or malformed."""
    try:
        report = _decoder.decode(encoded)
    except msgspec.MsgspecError:
        report = GatewayReport()
    texts = {
        field: getattr(report, field)[:LONGEST_TEXT]
        for field in ("name", "host", "version", "words")
    }
    texts["name"] = texts["name"] or instance.rpartition("/")[0][:LONGEST_TEXT]
    numbers = {field: _measurement(getattr(report, field)) for field in NUMBERS}
    return replace(report, **texts, **numbers)


def _measurement(number: float | None) -> float | None:
    is_valid = number is not None and math.isfinite(number) and number >= 0
    return number if is_valid else None


def own_version() -> str:
    """Return the version of this gateway, which is read from a file at the first call."""
    return metrics.build().values[0]


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


class PeerRecord:
    """A gateway, from its first report on."""

    def __init__(self) -> None:
        self.report = GatewayReport()
        self.reported_at = 0.0
        self.missed = 0  # looks in a row
        self._leads: deque[float] = deque(maxlen=LEADS)

    @property
    def is_silent(self) -> bool:
        """True if its report is missing for longer than it may be late."""
        return self.missed >= MISSED_LOOKS

    @property
    def clock_skew(self) -> float:
        """The seconds its clock is ahead: a report is late, so the largest lead is the nearest."""
        lead = max(self._leads, default=0.0)
        return 0.0 if -LONGEST_DELAY_S <= lead <= SKEW_S else round(lead, 1)

    def update(self, now: float, report: GatewayReport) -> None:
        """Take a report."""
        if report.at is not None and report.at != self.report.at:
            self._leads.append(report.at - now)
        self.report, self.reported_at, self.missed = report, now, 0

    def view(self, *, is_this: bool) -> GatewayView:
        """Return the gateway with its state, which is not the reported one if it is silent."""
        report = self.report
        state = HealthState(_LEVELS.get(report.level, "warning"), report.words or "serving")
        if self.is_silent:
            state = HealthState("good", "stopped")
            if not report.is_stopping:
                state = HealthState("bad", "silent")
        return GatewayView(
            **{field: getattr(report, field) for field in GatewayFacts.__struct_fields__},
            is_this=is_this,
            state=state,
            clock_skew=self.clock_skew,
            reported_at=self.reported_at,
            silent_since=self.reported_at if self.is_silent else None,
        )


class GatewayRecord:
    """This gateway with its processes, and the others by their instances."""

    def __init__(self) -> None:
        self.processes = ProcessRecord()
        self.own = PeerRecord()
        self._others: dict[str, PeerRecord] = {}

    def report(
        self, now: float, name: str, state: HealthState, *, stops: bool = False
    ) -> GatewayReport:
        """Record the report of this gateway, and return it for the others."""
        report = report_on(name, state, self.processes.views, now, stops=stops)
        self.own.update(now, report)
        return report

    def view(self, now: float) -> GatewaysView:
        """Return all processes and gateways."""
        named = (replace(it, version=own_version()) if it.is_this else it for it in self.views)
        return GatewaysView(now, self.processes.views, tuple(named))

    def update(self, now: float, reports: Mapping[str, GatewayReport], *, is_whole: bool) -> None:
        """Take the present reports of the others; with `is_whole` every shared log was read.

        A gateway that starts at the address and on the host of a silent one replaces it.
        """
        places = {(it.name, it.host) for it in (self.own.report, *reports.values())}
        for instance, report in reports.items():
            self._others.setdefault(instance, PeerRecord()).update(now, report)
        for instance, peer in list(self._others.items()):
            if instance in reports or not is_whole:
                continue
            peer.missed += 1
            is_over = now - peer.reported_at > KEPT_SILENT_S
            if is_over or (peer.report.name, peer.report.host) in places:
                del self._others[instance]
        silent = [it for it, peer in self._others.items() if peer.missed]
        silent.sort(key=lambda it: self._others[it].reported_at)
        for instance in silent[:-MOST_SILENT]:
            del self._others[instance]

    @property
    def views(self) -> tuple[GatewayView, ...]:
        """This gateway and the others, in the order of their names; () before the first look."""
        if not self.own.reported_at:
            return ()
        others = [it.view(is_this=False) for it in self._others.values()]
        others.sort(key=lambda it: (it.silent_since is not None, it.name, it.host))
        return (self.own.view(is_this=True), *others)
