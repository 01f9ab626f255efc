"""The task that measures the gateway every five seconds for the console's history and warnings.

The admin application starts it; the pages read `history`, `incidents` and the last measurement.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headgate_admin.alerting import findings
from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_admin.alerting.incidents import Incidents
from headgate_admin.alerting.subjects import subjects_of
from headgate_admin.model.kinds import HealthState
from headgate_admin.model.streams import StreamSums
from headgate_admin.readers.ban_keeper import BanKeeper, data_folder
from headgate_admin.record import figures
from headgate_admin.record.event_collector import EventCollector
from headgate_admin.record.fleet import Fleet
from headgate_admin.record.history import FINEST_S, History
from headgate_admin.record.logs import SIZE, USED, RouteGauges
from headgate_admin.record.route_traffic import RouteTraffic
from headgate_gateway.background import Turns
from headgate_gateway.features.questions.process_source import Health
from headgate_gateway.telemetry.health import STARTING, Cause
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from headgate_gateway.features.questions.contract import ShareMetrics
    from headgate_gateway.features.questions.process_source import ProcessSource, Setup
    from headgate_gateway.settings import Settings
    from headgate_gateway.telemetry.metrics import Snapshot

# Less than half a step of the history: a look begins in the middle of a step, and ends in it.
LOOK_S = 2.0
STOP_S = 1.0  # of a stop, to announce it to the others; too short for a Redis that is away
QUERY_S = 2.0  # for the other gateways, through a Redis that may be slow; before the next look


class Recorder:
    """The recorder of one gateway: `history` and `incidents` have what it has recorded.

    `samples` and `health` are of the last look, at `looked_at`; None before the first one.
    """

    def __init__(self, source: ProcessSource, setup: Setup, instance: str) -> None:
        """`instance` is the unique name of this gateway in its fleet."""
        self._source = source
        self._setup = setup
        self.history = History(())
        self.fleet = Fleet(instance, ())
        self.alerts = ActiveAlerts(setup.settings)
        self._turns = Turns()
        self._changed = asyncio.Event()
        self.traffic = RouteTraffic()
        self.incidents = Incidents()
        self.use_settings(setup.settings)
        self.gauges = RouteGauges()
        self.events = EventCollector(source)
        self.bans = BanKeeper(source, setup.clock, data_folder(setup.settings))
        self.samples: Snapshot = ()
        self.health = Health()
        self.looked_at: float | None = None

    def use_settings(self, settings: Settings) -> None:
        """Record the routes of these settings from now on."""
        routes = settings.route_table
        self.alerts.use_settings(settings)
        self.incidents.settings = settings
        self._prefixes = tuple(route.prefix for route in routes)
        self.history.keep(self._prefixes)
        self.traffic.keep(self._prefixes)
        self.fleet.share(
            route.prefix for route in routes if route.log_kind and route.log_kind.is_shared
        )

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            began = self._setup.clock()
            for step in (self.events.look, self.look, self._renew_bans):
                try:
                    await step()
                except TimeoutError:
                    log.warning("admin.look_missed", after_s=LOOK_S)
                except Exception:  # noqa: BLE001 - a gap is better than the end of the record
                    log.exception("admin.look_failed")
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause(began, self._setup.clock())):
                    await self._changed.wait()

    def wake(self) -> None:
        """Have the next look at once, since a process has ended or serves again."""
        self._changed.set()

    async def _renew_bans(self) -> None:
        """Have new workers enforce the bans, also while another one cannot be measured."""
        await self.bans.look(self.fleet.bans)

    @property
    def saw_start(self) -> bool:
        """True if a part of the gateway was still starting at the last look."""
        return any(check.cause == Cause(STARTING) for check in self.health.checks)

    @property
    def state(self) -> HealthState:
        """The state of the gateway at the last look: that of its worst incident, or a stop."""
        if self.health.is_stopping:
            return HealthState("warning", "draining")
        if self.looked_at is None:
            return HealthState("warning", "starting")
        return self.incidents.state()

    async def look(self) -> None:
        """Record the counts since the last look. Raises TimeoutError after LOOK_S."""
        async with asyncio.timeout(LOOK_S):
            # At once, so that all three wait for the same report of a worker that stands still.
            samples, health, processes = await asyncio.gather(
                self._source.measure(), self._source.health(), self._source.processes()
            )
        health = health.with_listener(self._setup.bounds)
        now = self._setup.clock()
        seconds = FINEST_S if self.looked_at is None else max(now - self.looked_at, 0.0)
        totals = figures.take(samples, self._prefixes)
        rows = self.fleet.own.counted(totals, seconds)
        self.history.add(now, rows)
        self.traffic.note(now, rows)
        self.looked_at, self.samples, self.health = now, samples, health
        self.gauges.update(now, samples)
        self.fleet.processes.update(now, processes)
        measured = (*samples, *self._setup.bounds.measure())
        await self._turns.run(self.alerts.look(now, measured))
        subjects = await subjects_of(self._source, self.alerts, self._setup.settings)
        found = (
            *findings.findings(health, samples, self.alerts, self._setup.settings, subjects),
            *self.fleet.findings(self.events.new()),
            *self.traffic.findings(now),
        )
        self.incidents.update(now, found, samples)
        self.traffic.forget_failures(self.incidents.relieved)
        if not self.saw_start:  # workers that start do not answer yet, which is no event
            self.events.note_findings(now, found)
        stops = health.is_stopping
        self.fleet.report(now, str(self._setup.settings.listen), self.state, stops=stops)
        if self.fleet.is_shared:
            question = self.fleet.question(self.events.record.shared(now), self.bans.list.decisions)
            await self._query_others(question, now, seconds)

    async def announce_stop(self) -> None:
        """Share that this gateway stops, so that its silence worries nobody; for STOP_S at most."""
        if not self.fleet.is_shared or self.looked_at is None or self.saw_start:
            return  # nobody has heard of it
        self.events.take_own()
        try:
            async with asyncio.timeout(STOP_S):
                await self.look()
        except TimeoutError:
            log.warning("admin.stop_not_shared", after_s=STOP_S)
        except Exception:  # noqa: BLE001 - the stop goes on
            log.exception("admin.look_failed")

    async def _query_others(self, question: ShareMetrics, now: float, seconds: float) -> None:
        """Record what the other gateways have counted."""
        try:
            async with asyncio.timeout(QUERY_S):
                answers = await self._source.query(question)
        except TimeoutError:
            log.warning("admin.gateways_not_asked", after_s=QUERY_S)
            return
        for rows in self.fleet.take(now, answers, seconds):
            # The period was added with this gateway's own row; added again, it would count twice.
            self.history.add(now, {prefix: _without_seconds(row) for prefix, row in rows.items()})
        for gateway, events in self.fleet.events.items():
            self.events.record.add_shared(gateway, events)
        if self.fleet.is_whole:
            self.events.record.keep_gateways(self.fleet.events)

    def sums(self, prefix: str) -> StreamSums:
        """Return the sums of a route's streams, of all gateways where they share a log."""
        until, numbers = self.until(self._setup.clock()), self.gauges.of(prefix).plain
        hour = figures.summed(self.history.of(prefix, "1h", until))
        stored, value = numbers.get("headgate_storage_streams"), figures.value
        return StreamSums(
            streams=None if stored is None else int(stored),
            size=numbers.get(USED, numbers.get(SIZE)),
            growth=None if hour is None else hour[figures.COLUMN["received_bytes"]],
            rate=value(figures.rate("appends"), self.history.now(prefix, until)),
            readers=value(figures.rate(*figures.TRANSPORTS), self.fleet.live(prefix)),
        )

    def until(self, now: float) -> float:
        """Return the moment of the newest figures: the last look, or a step if that is long ago."""
        looked_at = self.looked_at
        if looked_at is None or now - looked_at > 2 * FINEST_S:
            return now // FINEST_S * FINEST_S
        return looked_at


def pause(began: float, now: float) -> float:
    """Return the seconds from `now` to the middle of the step after the one that `began` is in.

    Both are epoch seconds. The pause is limited, so a clock that is set back delays no look.
    """
    due = (began // FINEST_S + 1.5) * FINEST_S
    return min(max(due - now, 0.0), 1.5 * FINEST_S)


def _without_seconds(row: list[float]) -> list[float]:
    row[figures.SECONDS] = 0.0
    return row
