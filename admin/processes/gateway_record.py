"""The record of the gateways that share a log: their last reports, and which are silent."""

from __future__ import annotations

import math
import socket
from typing import TYPE_CHECKING

import msgspec

from admin.model.kinds import HealthState
from admin.model.processes import GatewayView
from admin.processes.usage import UsageFigures, UsageHistory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from admin.model.kinds import Level
    from admin.model.processes import ProcessView

MISSED_LOOKS = 2  # after the 15 s for which Redis keeps a report; at one, it may only be late
KEPT_SILENT_S = 3600.0  # long enough to see what is missing, after an alert too
MOST_SILENT = 64  # as many as there may be gateways; the longest silent ones are forgotten first
LONGEST_TEXT = 200  # characters of a name, which another gateway may have set
_LEVELS: Mapping[str, Level] = {"good": "good", "warning": "warning", "bad": "bad"}


class GatewayReport(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """A gateway about itself, for the others. Other versions may have other fields, or fewer."""

    name: str = ""
    host: str = ""
    version: str = ""
    level: str = "good"  # with `words`, its state
    words: str = ""
    is_stopping: bool = False
    started_at: float | None = None
    workers: int = 1
    restarts: int = 0
    processor: float | None = None
    memory: float | None = None
    files: float | None = None
    most_files: float | None = None
    loop_lag: float | None = None
    connections: float | None = None


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
    numbers = {
        field: _measurement(getattr(report, field))
        for field in (*UsageFigures._fields, "started_at", "most_files")
    }
    return msgspec.structs.replace(report, **texts, **numbers)


def _measurement(number: float | None) -> float | None:
    is_valid = number is not None and math.isfinite(number) and number >= 0
    return number if is_valid else None


def report_on(
    name: str, version: str, state: HealthState, processes: Sequence[ProcessView], *, stops: bool
) -> GatewayReport:
    """Return the report of this gateway: sums over its processes, or the worst of them."""
    serving = [it for it in processes if it.connections is not None]
    fullest = max(processes, key=_fullness, default=None)
    return GatewayReport(
        name=name,
        host=socket.gethostname(),
        version=version,
        level=state.level,
        words=state.words,
        is_stopping=stops,
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
        self.history = UsageHistory()
        self.reported_at = 0.0
        self.missed = 0  # looks in a row

    @property
    def is_silent(self) -> bool:
        """True if its report is missing for longer than it may be late."""
        return self.missed >= MISSED_LOOKS

    def update(self, now: float, report: GatewayReport) -> None:
        """Take a report."""
        self.report, self.reported_at, self.missed = report, now, 0
        figures = {name: getattr(report, name) for name in UsageFigures._fields}
        self.history.add(now, UsageFigures(**figures))

    def view(self, *, is_this: bool) -> GatewayView:
        """Return the gateway with its state, which is not the reported one if it is silent."""
        report = self.report
        state = HealthState(_LEVELS.get(report.level, "warning"), report.words or "serving")
        if self.is_silent:
            state = HealthState("good", "stopped")
            if not report.is_stopping:
                state = HealthState("bad", "silent")
        return GatewayView(
            name=report.name,
            host=report.host,
            is_this=is_this,
            state=state,
            version=report.version,
            started_at=report.started_at,
            workers=report.workers,
            restarts=report.restarts,
            processor=report.processor,
            memory=report.memory,
            files=report.files,
            most_files=report.most_files,
            loop_lag=report.loop_lag,
            connections=report.connections,
            reported_at=self.reported_at,
            silent_since=self.reported_at if self.is_silent else None,
        )


class GatewayRecord:
    """This gateway, and the others by their instances."""

    def __init__(self) -> None:
        self._own = PeerRecord()
        self._others: dict[str, PeerRecord] = {}

    def update_own(self, now: float, report: GatewayReport) -> None:
        """Take the report of this gateway."""
        self._own.update(now, report)

    def update(self, now: float, reports: Mapping[str, GatewayReport], *, is_whole: bool) -> None:
        """Take the present reports of the others; with `is_whole` every shared log was read.

        A gateway that starts at the address and on the host of a silent one replaces it.
        """
        places = {(it.name, it.host) for it in (self._own.report, *reports.values())}
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
        """This gateway and the others, in the order of their names; () if there are no others."""
        if not self._others:
            return ()
        others = [it.view(is_this=False) for it in self._others.values()]
        others.sort(key=lambda it: (it.silent_since is not None, it.name, it.host))
        return (self._own.view(is_this=True), *others)

    @property
    def histories(self) -> list[tuple[str, UsageHistory]]:
        """The histories of all gateways, by names that tell them apart."""
        if not self._others:
            return []
        peers = [self._own, *sorted(self._others.values(), key=lambda it: it.report.name)]
        names = [it.report.name for it in peers]
        return [(_line_name(it.report, names), it.history) for it in peers]


def _line_name(report: GatewayReport, names: Sequence[str]) -> str:
    is_alone = names.count(report.name) == 1
    return report.name if is_alone else f"{report.name} ({report.host})"
