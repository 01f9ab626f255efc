"""The gateways that share a log: each one sends the others its counts, events, state and bans."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING

import msgspec

from admin.processes.gateway_record import GatewayReport, parse_report
from admin.readers.ban_list import MOST_BANS, parse_bans
from admin.record import figures
from admin.record.event_record import MOST_SHARED, ConsoleEvent
from gateway.features.questions.contract import LONGEST_FIGURES, PeerMetrics, ShareMetrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from admin.record.figures import Row
    from gateway.access.bans import Ban
    from gateway.features.questions.contract import Answer

MOST_GATEWAYS = 64  # beyond the largest fleet that one Redis serves; each has a row for a route

NO_REPORT = msgspec.Raw(b"")


class GatewayTotals(msgspec.Struct, frozen=True, omit_defaults=True):
    """A gateway's totals by route and name, its newest events, its report on itself, and bans.

    Other versions may know other names, and events of other kinds, which are left out.
    """

    routes: dict[str, dict[str, float]]
    events: tuple[msgspec.Raw, ...] = ()
    gateway: msgspec.Raw = NO_REPORT
    bans: tuple[msgspec.Raw, ...] = ()


_decoder = msgspec.json.Decoder(GatewayTotals)
_event_decoder = msgspec.json.Decoder(ConsoleEvent)


class Counting:
    """A gateway's totals at the last look, and so what it has counted since."""

    def __init__(self) -> None:
        self._before: dict[str, Row] = {}

    @property
    def totals(self) -> Mapping[str, Row]:
        """The totals at the last look, by route."""
        return self._before

    def since(self, totals: Mapping[str, Row], seconds: float) -> dict[str, list[float]]:
        """Return the counts by route since the last look, without routes that are new."""
        rows = {
            prefix: figures.between(self._before[prefix], row, seconds)
            for prefix, row in totals.items()
            if prefix in self._before
        }
        self._before = dict(totals)
        return rows


class Fleet:
    """The other gateways that share a log, as long as they report; `shared` are its routes.

    `events` and `reports` are their last ones by gateway, and `bans` those of all of them.
    `is_whole` is True if every shared log answered, so that a gateway that is missing is silent.
    """

    def __init__(self, instance: str, shared: Iterable[str]) -> None:
        self._instance = instance
        self.share(shared)
        self._others: dict[str, Counting] = {}
        self.events: dict[str, list[ConsoleEvent]] = {}
        self.reports: dict[str, GatewayReport] = {}
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
        """The number of gateways, with this one."""
        return 1 + len(self._others)

    def live(self, prefix: str) -> list[Row]:
        """Return the live readers that each of the other gateways has on a route."""
        rows = (other.totals.get(prefix) for other in self._others.values())
        return [figures.live(row) for row in rows if row is not None]

    def question(
        self,
        totals: Mapping[str, Row],
        events: Iterable[ConsoleEvent] = (),
        report: GatewayReport | None = None,
        bans: Iterable[Ban] = (),
    ) -> ShareMetrics:
        """Return the request that shares all of it; one that is too long lacks events, or bans."""
        routes = {
            prefix: {name: row[figures.COLUMN[name]] for name in NAMES if row[figures.COLUMN[name]]}
            for prefix, row in totals.items()
            if prefix in self._shared
        }
        gateway = NO_REPORT if report is None else msgspec.Raw(msgspec.json.encode(report))
        all_events, all_bans = _each_encoded(events), _each_encoded(bans)
        encoded = b""
        for some_events, some_bans in ((all_events, all_bans), ((), all_bans), ((), ())):
            encoded = msgspec.json.encode(GatewayTotals(routes, some_events, gateway, some_bans))
            if len(encoded) <= LONGEST_FIGURES:
                break
        return ShareMetrics(self._instance, encoded.decode())

    def take(self, answers: Iterable[Answer], seconds: float) -> list[dict[str, list[float]]]:
        """Return the counts of each other gateway by route; forget gateways that are silent."""
        figures_by_instance: dict[str, str] = {}
        self.is_whole = False
        for answer in answers:
            if isinstance(answer, PeerMetrics):
                figures_by_instance |= answer.figures
                self.is_whole = self.is_whole or answer.is_whole
        figures_by_instance.pop(self._instance, None)
        found: dict[str, Counting] = {}
        self.events, self.reports, self.bans = {}, {}, []
        counted = []
        for instance in sorted(figures_by_instance)[:MOST_GATEWAYS]:
            parsed = _parsed(figures_by_instance[instance])
            if parsed is not None:
                totals = {it: _row(parsed.routes[it]) for it in self._shared & parsed.routes.keys()}
                self.events[instance] = _events(parsed)
                self.reports[instance] = parse_report(instance, parsed.gateway)
                self.bans += parse_bans(bytes(ban) for ban in parsed.bans[:MOST_BANS])
                found[instance] = self._others.get(instance) or Counting()
                counted.append(found[instance].since(totals, seconds))
        self._others = found
        return counted


def _parsed(encoded: str) -> GatewayTotals | None:
    """Parse the figures of another gateway; return None if they are invalid or too long."""
    if len(encoded) > LONGEST_FIGURES:
        return None
    try:
        return _decoder.decode(encoded)
    except msgspec.DecodeError:
        return None


def _each_encoded(values: Iterable[ConsoleEvent] | Iterable[Ban]) -> tuple[msgspec.Raw, ...]:
    return tuple(msgspec.Raw(msgspec.json.encode(it)) for it in values)


def _events(shared: GatewayTotals) -> list[ConsoleEvent]:
    found = []
    for raw in shared.events[-MOST_SHARED:]:
        with contextlib.suppress(msgspec.DecodeError):
            found.append(_event_decoder.decode(raw))
    return found


NAMES = (*figures.COUNTERS, *figures.TRANSPORTS)


def _row(numbers: Mapping[str, float]) -> Row:
    row = figures.empty()
    for name in NAMES:
        number = numbers.get(name, 0.0)
        row[figures.COLUMN[name]] = number if number >= 0 and math.isfinite(number) else 0.0
    return row
