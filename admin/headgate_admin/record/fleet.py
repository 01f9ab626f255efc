"""The gateways that share a log: each one sends the others its counts, events, state and bans."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import msgspec
from msgspec.structs import replace

from headgate_admin.alerting.findings import IncidentFinding
from headgate_admin.readers.ban_list import MOST_BANS, parse_bans
from headgate_admin.record import figures
from headgate_admin.record.event_record import MOST_SHARED, ConsoleEvent
from headgate_admin.record.gateways import GatewayView, Peer, parse_report, report_on
from headgate_admin.record.processes import ProcessRecord, ProcessView
from headgate_gateway.features.questions.contract import LONGEST_FIGURES, PeerMetrics, ShareMetrics
from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.event_journal import STOOD_STILL
from headgate_gateway.telemetry.health import Cause, HealthNote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from headgate_admin.model.kinds import HealthState
    from headgate_admin.record.figures import Row
    from headgate_gateway.access.bans import Ban
    from headgate_gateway.features.questions.contract import Answer

MOST_GATEWAYS = 64  # more than one Redis serves; each has a row for a route
SILENT_FOR_S = 3600.0  # a silent gateway is listed: long enough to find it after an alert
MOST_SILENT = 64  # as many as there may be gateways; the longest silent ones are forgotten first
NAMES = (*figures.COUNTERS, *figures.TRANSPORTS)


class GatewaysView(msgspec.Struct, frozen=True):
    """The processes of this gateway, and all gateways that share a log, this one first."""

    taken_at: float
    processes: tuple[ProcessView, ...]
    gateways: tuple[GatewayView, ...]


class GatewayTotals(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gateway's totals by route and name, its newest events, its report on itself, and bans.

    Other versions may know other names, and events of other kinds, which are left out.
    """

    routes: dict[str, dict[str, float]]
    events: tuple[msgspec.Raw, ...] = ()
    gateway: msgspec.Raw = msgspec.Raw(b"")
    bans: tuple[msgspec.Raw, ...] = ()


_decoder = msgspec.json.Decoder(GatewayTotals)
_event_decoder = msgspec.json.Decoder(ConsoleEvent)


class Fleet:
    """This gateway, and the others that share a log, until an hour after their last report.

    `events` and `bans` are what the others last sent. `is_whole` is True if every shared log
    answered, so that a gateway that is missing is silent.
    """

    def __init__(self, instance: str, shared: Iterable[str]) -> None:
        """`shared` are the prefixes of the routes of the log."""
        self._instance = instance
        self.share(shared)
        self.processes = ProcessRecord()
        self.own = Peer()
        self._others: dict[str, Peer] = {}
        self.events: dict[str, list[ConsoleEvent]] = {}
        self.bans: list[Ban] = []
        self.is_whole = False

    @property
    def is_shared(self) -> bool:
        """True if there is a log that other gateways may share."""
        return bool(self._shared)

    def share(self, prefixes: Iterable[str]) -> None:
        """Share what is counted of these routes."""
        self._shared = frozenset(prefixes)

    @property
    def size(self) -> int:
        """The number of gateways that reported at the last look, with this one."""
        return 1 + sum(it.has_reported for it in self._others.values())

    @property
    def views(self) -> tuple[GatewayView, ...]:
        """This gateway and the others, in the order of their names; () before the first look."""
        if not self.own.reported_at:
            return ()
        others = [it.view(is_this=False) for it in self._others.values()]
        others.sort(key=lambda it: (it.silent_since is not None, it.name, it.host))
        return (self.own.view(is_this=True), *others)

    def view(self, now: float, state: HealthState) -> GatewaysView:
        """Return all processes and gateways; `state` is that of this one, which mutes change."""
        own = {"version": _own_version(), "state": state}
        named = (replace(it, **own) if it.is_this else it for it in self.views)
        return GatewaysView(now, self.processes.views, tuple(named))

    def findings(self, new: Iterable[ConsoleEvent] = ()) -> Iterator[IncidentFinding]:
        """Yield a finding for each gateway that is silent and has not announced that it stops.

        By the new events one that stood still says so, and knows best how long it was silent.
        """
        found = (it for it in new if it.cause == STOOD_STILL)
        still = {it.gateway: it for it in found if not it.subject.startswith("worker ")}
        for instance, peer in (("", self.own), *self._others.items()):
            it, event = peer.view(is_this=not instance), still.get(instance)
            where = f"{it.name} on {it.host}" if it.host else it.name
            silence = IncidentFinding(
                *(("gateway", where), "bad", "a gateway is silent"),
                f"the gateway {where} is silent: it shares this log, and did not say it stops",
                alert="HeadgateDown",
                since=it.silent_since,
                about=HealthNote("gateway", where, Cause("silent")),
                past=f"the gateway {where} was silent",
            )
            if it.silent_since is not None and it.state.level != "good":
                yield silence
            if event is not None and event.ended_at is not None and it.name:
                since, ended_at = (at - it.clock_skew for at in (event.at, event.ended_at))
                past = f"{silence.past}: {event.sentence}"
                yield silence._replace(
                    level="warning", sentence=past, since=since, ended_at=ended_at, past=past
                )

    def live(self, prefix: str) -> Row | None:
        """Return the last totals of a route on all gateways, with its live readers.

        None before the first look.
        """
        if prefix not in self.own.totals:
            return None
        peers = (self.own, *self._others.values())
        return figures.together(it.totals.get(prefix) for it in peers)

    def report(self, now: float, name: str, state: HealthState, *, stops: bool) -> None:
        """Take the report of this gateway on itself."""
        self.own.update(now, report_on(name, state, self.processes.views, now, stops=stops))

    def question(self, events: Iterable[ConsoleEvent], bans: Iterable[Ban]) -> ShareMetrics:
        """Return the question that shares this gateway's totals, report, events and bans.

        One that would be too long lacks the events, and if need be the bans.
        """
        routes = {
            prefix: {name: row[figures.COLUMN[name]] for name in NAMES if row[figures.COLUMN[name]]}
            for prefix, row in self.own.totals.items()
            if prefix in self._shared
        }
        report = _encoded(replace(self.own.report, version=_own_version()))
        all_events, all_bans = tuple(map(_encoded, events)), tuple(map(_encoded, bans))
        encoded = b""
        for some_events, some_bans in ((all_events, all_bans), ((), all_bans), ((), ())):
            encoded = msgspec.json.encode(GatewayTotals(routes, some_events, report, some_bans))
            if len(encoded) <= LONGEST_FIGURES:
                break
        return ShareMetrics(self._instance, encoded.decode())

    def take(
        self, now: float, answers: Iterable[Answer], seconds: float
    ) -> list[dict[str, list[float]]]:
        """Return the counts of each other gateway by route; forget gateways that are silent."""
        received: dict[str, str] = {}
        self.is_whole = False
        for answer in answers:
            if isinstance(answer, PeerMetrics):
                received |= answer.figures
                self.is_whole = self.is_whole or answer.is_whole
        received.pop(self._instance, None)
        self.events, self.bans = {}, []
        counted = []
        for instance in sorted(received)[:MOST_GATEWAYS]:
            sent = _parsed(received[instance])
            if sent is not None:
                peer = self._others.setdefault(instance, Peer())
                peer.update(now, parse_report(instance, sent.gateway))
                totals = {it: _row(sent.routes[it]) for it in self._shared & sent.routes.keys()}
                counted.append(peer.counted(totals, seconds))
                self.events[instance] = _events(sent)
                self.bans += parse_bans(bytes(ban) for ban in sent.bans[:MOST_BANS])
        self._forget(now)
        return counted

    def _forget(self, now: float) -> None:
        """Forget gateways that have been silent for long, or were started again.

        One that starts at the address and on the host of a silent one replaces it.
        """
        absent = {it: peer for it, peer in self._others.items() if it not in self.events}
        present = [self.own, *(self._others[it] for it in self.events)]
        places = {(it.report.name, it.report.host) for it in present}
        for instance, peer in absent.items():
            peer.miss(is_whole=self.is_whole)
            is_over = now - peer.reported_at > SILENT_FOR_S
            if self.is_whole and (is_over or (peer.report.name, peer.report.host) in places):
                del self._others[instance]
        silent = [it for it in absent if it in self._others]
        silent.sort(key=lambda it: self._others[it].reported_at)
        for instance in silent[:-MOST_SILENT]:
            del self._others[instance]


def _own_version() -> str:
    """Return the version of this gateway, which is read from a file at the first call."""
    return metrics.build().values[0]


def _encoded(value: object) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(value))


def _parsed(encoded: str) -> GatewayTotals | None:
    """Parse the figures of another gateway; return None if they are invalid or too long."""
    if len(encoded) > LONGEST_FIGURES:
        return None
    try:
        return _decoder.decode(encoded)
    except msgspec.DecodeError:
        return None


def _events(shared: GatewayTotals) -> list[ConsoleEvent]:
    found = []
    for raw in shared.events[-MOST_SHARED:]:
        with contextlib.suppress(msgspec.DecodeError):
            found.append(_event_decoder.decode(raw))
    return found


def _row(numbers: Mapping[str, float]) -> Row:
    return figures.totals(
        {name: it for name, it in numbers.items() if it >= 0 and math.isfinite(it)}
    )
