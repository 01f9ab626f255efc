"""The first page, its routes among it, from what was recorded."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from headgate_admin.alerting.findings import TITLES
from headgate_admin.model.kinds import RESULTS, HealthState
from headgate_admin.model.overview import (
    Chart,
    Line,
    Overview,
    RouteFigures,
    RouteView,
    Server,
    Stat,
    Writes,
)
from headgate_admin.record import figures, history, policy
from headgate_admin.record.figures import value
from headgate_admin.record.logs import log_view
from headgate_gateway.background import Turns
from headgate_gateway.settings import redacted_origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence

    from headgate_admin.model.kinds import Span, Transport
    from headgate_admin.model.overview import Instance
    from headgate_admin.record.figures import Figure, Row
    from headgate_admin.record.logs import RouteNumbers
    from headgate_admin.record.recorder import Recorder
    from headgate_gateway.features.questions.process_source import Setup
    from headgate_gateway.settings import Route, Settings

HOUR_S = 3600.0
DELIVERY_P50, DELIVERY_P99 = map(figures.DELIVERIES.quantile, (0.5, 0.99))
APPEND_P50, APPEND_P99 = map(figures.APPEND_TIMES.quantile, (0.5, 0.99))


class _Made(NamedTuple):
    """An overview, as JSON too, and the state of the record that it was made from."""

    overview: Overview
    encoded: bytes
    state: tuple[object, ...]


class Overviews:
    """The last overview of each span, which is made for all viewers when the record has changed."""

    def __init__(
        self, recorder: Recorder, setup: Setup, instance: Callable[[], Awaitable[Instance]]
    ) -> None:
        self._recorder = recorder
        self._setup = setup
        self._instance = instance
        self._last: dict[Span, _Made] = {}
        self._one_at_a_time = asyncio.Lock()
        self._turns = Turns()

    async def of(self, span: Span) -> Overview:
        """Return the overview; requests between two looks get the same."""
        return (await self._made(span)).overview

    async def as_json(self, span: Span) -> bytes:
        """Return the overview as JSON."""
        return (await self._made(span)).encoded

    async def _made(self, span: Span) -> _Made:
        async with self._one_at_a_time:
            if self._recorder.saw_start:
                with contextlib.suppress(TimeoutError):
                    await self._recorder.look()
            now = self._setup.clock()
            state = (
                self._recorder.until(now),
                self._recorder.incidents.attention,
                self._recorder.fleet.size,
            )
            last = self._last.get(span)
            if last is None or last.state != state:
                instance = await self._instance()
                steps = overview(self._recorder, self._setup.settings, instance, span, now)
                view = await self._turns.run(steps)
                self._last[span] = last = _Made(view, msgspec.json.encode(view), state)
            return last


class _Recorded(NamedTuple):
    """The rows of a span over its moments, of which the first is `start`."""

    start: float
    step: float
    rows: Sequence[Row | None]
    hour_ago: Row | None

    def stat(self, figure: Figure, of: Row | None) -> Stat:
        """Return a figure of a row, with its history."""
        return Stat(value(figure, of), self.history(figure), value(figure, self.hour_ago))

    def chart(self, lines: Mapping[str, Figure]) -> Chart:
        """Return a chart with a line for each figure."""
        drawn = tuple(Line(name, self.history(figure)) for name, figure in lines.items())
        return Chart(self.start, self.step, drawn)

    def history(self, figure: Figure) -> tuple[float | None, ...]:
        """Return a figure at each moment."""
        return tuple(value(figure, row) for row in self.rows)


def overview(
    recorder: Recorder, settings: Settings, instance: Instance, span: Span, now: float
) -> Generator[None, None, Overview]:
    """Make the first page, for a span that ends now, in steps of a few milliseconds at most.

    A route that a reload removes between two steps is shown without figures.
    """
    prefixes = [route.prefix for route in settings.route_table]
    until = recorder.until(now)
    by_route = {prefix: recorder.history.of(prefix, span, until) for prefix in prefixes}
    rows = []
    for moment in zip(*by_route.values(), strict=True):
        rows.append(figures.together(moment))
        yield
    before = (recorder.history.before(prefix, HOUR_S, until) for prefix in prefixes)
    start, step = recorder.history.start(span, until), history.step(span)
    recorded = _Recorded(start, step, rows, figures.together(before))
    stat, chart, whole = recorded.stat, recorded.chart, figures.summed(rows)
    latest = figures.together(recorder.history.now(prefix, until) for prefix in prefixes)
    live = figures.together(map(recorder.fleet.live, prefixes))
    routes = []
    for route in settings.route_table:
        routes.append(_route(recorder, settings, route, by_route[route.prefix], until))
        yield
    return Overview(
        taken_at=now,
        span=span,
        instance=instance,
        attention=recorder.incidents.attention,
        ended=recorder.incidents.ended,
        without_origin=stat(figures.without_origin, whole),
        reads=figures.reads(whole),
        collapse=stat(figures.collapse, whole),
        most_collapsed=value(figures.most_collapsed, whole),
        live_readers=stat(figures.rate(*figures.TRANSPORTS), live),
        readers=_readers(live),
        delivery_p99=stat(DELIVERY_P99, whole),
        requests=stat(figures.rate("requests"), latest),
        appends=stat(figures.rate("appends"), latest),
        marks=recorder.events.record.marks(start),
        by_result=chart({result: figures.result_rate(result) for result in RESULTS}),
        ratio=chart({"share of reads": figures.without_origin}),
        refused=chart({name: figures.rate(*of) for name, of in figures.REFUSED_BY.items()}),
        by_transport=chart({"SSE": _mean("sse"), "long-poll": _mean("long-poll")}),
        delivery=chart({"p50": DELIVERY_P50, "p99": DELIVERY_P99}),
        routes=tuple(routes),
        writes=_writes(recorded, latest, whole),
        logs=tuple(log_view(it, recorder.gauges, until) for it in routes),
    )


def _writes(recorded: _Recorded, latest: Row | None, whole: Row | None) -> Writes:
    """Return the appends of all routes: rates of `latest`, and durations of the `whole` span."""
    stat, rate = recorded.stat, figures.rate
    outcomes = {
        "stored": rate("appends"),
        "refused": rate("appends_refused"),
        "failed": rate("appends_failed"),
        "client left": rate("appends_cut"),
    }
    return Writes(
        appends=stat(outcomes["stored"], latest),
        received=stat(rate("received_bytes"), latest),
        refused=stat(outcomes["refused"], latest),
        failed=stat(outcomes["failed"], latest),
        p50=stat(APPEND_P50, whole),
        p99=stat(APPEND_P99, whole),
        commits=stat(rate("commits"), latest),
        appends_per_commit=stat(figures.appends_per_commit, whole),
        by_outcome=recorded.chart(outcomes),
        durations=recorded.chart({"p50": APPEND_P50, "p99": APPEND_P99}),
    )


def _readers(row: Row | None) -> dict[Transport, int]:
    rates = {name: value(figures.rate(name), row) for name in figures.TRANSPORTS}
    return {name: round(number) for name, number in rates.items() if number is not None}


def _mean(transport: Transport) -> Figure:
    """Return the figure that is the mean number of readers, which a row has times seconds."""
    return lambda row: round(figures.rate(transport)(row) or 0.0, 3)


# ---------------------------------------------------------------- routes


def _route(
    recorder: Recorder, settings: Settings, route: Route, rows: Sequence[Row | None], until: float
) -> RouteView:
    latest = recorder.history.now(route.prefix, until)
    whole, requests = figures.summed(rows), figures.rate("requests")
    numbers = recorder.gauges.of(route.prefix)
    repairs = numbers.labelled.get("headgate_repairs_total", {}).items()
    return RouteView(
        prefix=route.prefix,
        origin=redacted_origin(route.location),
        kind=policy.kind(route),
        state=route_state(recorder, route.prefix, until),
        policy=policy.sentences(route, settings.auth_of(route)),
        figures=RouteFigures(
            requests=value(requests, latest),
            without_origin=value(figures.without_origin, whole),
            collapse=value(figures.collapse, whole),
            readers=_readers(recorder.fleet.live(route.prefix)),
            appends=value(figures.rate("appends"), latest),
            errors=value(figures.rate("errors"), latest),
            history=tuple(value(requests, row) for row in rows),
        ),
        repairs={it: int(count) for it, count in sorted(repairs, key=lambda it: (-it[1], it[0]))},
        servers=_servers(numbers),
        streams=_streams(numbers),
    )


def route_state(recorder: Recorder, prefix: str, now: float) -> HealthState:
    """Return a route's state: by what is found about it, and by its last requests."""
    notes = (*recorder.health.checks, *recorder.health.notes)
    failing = {it.kind for it in notes if it.subject == prefix and it.cause is not None}
    for kind in ("log", "origin", "loss"):
        if kind in failing:
            return HealthState("bad", TITLES[kind])
    for failure in recorder.traffic.failures(prefix, now):
        return HealthState("bad", f"the last {failure.kind} failed")
    idle_s = recorder.traffic.idle_s(prefix, now)
    if idle_s is not None:
        minutes = int(idle_s // 60)
        words = f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
        return HealthState("idle", f"no request for {words}")
    if figures.is_mostly_absent(figures.summed(recorder.history.of(prefix, "15m", now))):
        return HealthState("good", "serving, mostly asked for absent streams")
    return HealthState("good", "serving")


def _streams(numbers: RouteNumbers) -> dict[str, int]:
    """Return how many streams are stored, and how many this gateway created and removed.

    Of an HTTP origin nothing is known.
    """
    metrics = {"stored": "headgate_storage_streams"}
    metrics |= {it: f"headgate_streams_{it}_total" for it in ("created", "expired", "deleted")}
    return {it: int(numbers.plain[of]) for it, of in metrics.items() if of in numbers.plain}


def _servers(numbers: RouteNumbers) -> tuple[Server, ...]:
    """Return the servers of an origin, in the order of their metrics."""
    failing = numbers.labelled.get("headgate_origin_failing", {})
    up, down = HealthState("good", "up"), HealthState("bad", "down")
    errors = HealthState("bad", "up, answers with errors only")
    return tuple(
        Server(server, down if not is_up else errors if failing.get(server) else up)
        for server, is_up in numbers.labelled.get("headgate_origin_up", {}).items()
    )
