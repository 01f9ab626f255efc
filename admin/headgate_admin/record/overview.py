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
    Charts,
    Durations,
    Line,
    Overview,
    RouteFigures,
    RouteView,
    Stat,
)
from headgate_admin.record import figures, history, policy
from headgate_admin.record.figures import value
from headgate_admin.record.logs import facts
from headgate_gateway.background import Turns
from headgate_gateway.settings import redacted_origin

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping, Sequence

    from headgate_admin.model.kinds import Span, Transport
    from headgate_admin.model.overview import Instance
    from headgate_admin.record.figures import Buckets, Figure, Row
    from headgate_admin.record.logs import RouteNumbers
    from headgate_admin.record.recorder import Recorder
    from headgate_gateway.features.questions.process_source import Setup
    from headgate_gateway.settings import Route, Settings

TIMES = {
    "reads": figures.READ_TIMES.quantile(0.99),
    "appends": figures.APPEND_TIMES.quantile(0.99),
    "deliveries": figures.DELIVERIES.quantile(0.99),
}
BEHIND_P99 = figures.BEHIND_TIMES.quantile(0.99)
MOST_BEHIND = 4  # lines that can be told apart in one chart
OUTCOMES = ("stored", "refused", "failed", "client left")  # as figures.OUTCOMES


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
    rows: list[Row | None]

    def stat(self, figure: Figure, of: Row | None) -> Stat:
        """Return a figure of a row, with its history."""
        return Stat(value(figure, of), self.history(figure))

    def durations(self, buckets: Buckets, of: Row | None) -> Durations:
        """Return the quantiles of a histogram of a row."""
        p50, p99 = map(buckets.quantile, (0.5, 0.99))
        return Durations(value(p50, of), self.stat(p99, of))

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
    recorded = _Recorded(recorder.history.start(span, until), history.step(span), [])
    for moment in zip(*by_route.values(), strict=True):
        recorded.rows.append(figures.together(moment))
        yield
    stat, rate, whole = recorded.stat, figures.rate, figures.summed(recorded.rows)
    latest = figures.together(recorder.history.now(prefix, until) for prefix in prefixes)
    live = figures.together(map(recorder.fleet.live, prefixes))
    routes = []
    for route in settings.route_table:
        routes.append(_route(recorder, settings, route, by_route[route.prefix], until))
        yield
    charts = yield from _charts(recorded, recorder, routes, by_route)
    return Overview(
        taken_at=now,
        scrape=recorder.alerts.scrape(now),
        span=span,
        instance=instance,
        attention=recorder.incidents.attention,
        ended=recorder.incidents.ended,
        requests=stat(rate("requests"), latest),
        write_share=value(figures.share(*figures.OUTCOMES.values()), latest),
        appends=stat(rate("appends"), latest),
        failed_appends=value(rate("appends_failed"), latest),
        failed=stat(figures.share("errors"), whole),
        errors=figures.count(whole, "errors"),
        live_readers=stat(rate(*figures.TRANSPORTS), live),
        readers=_readers(live),
        read=recorded.durations(figures.READ_TIMES, whole),
        append=recorded.durations(figures.APPEND_TIMES, whole),
        delivery=recorded.durations(figures.DELIVERIES, whole),
        collapse=stat(figures.collapse, whole),
        shared=figures.count(whole, *figures.SHARED.columns),
        without_origin=stat(figures.without_origin, whole),
        reads=figures.count(whole, *figures.CACHE_RESULTS),
        sent=stat(rate("sent_bytes"), latest),
        received=value(rate("received_bytes"), latest),
        is_unused=live is not None and _is_unused(live, routes),
        charts=charts,
        routes=tuple(routes),
    )


def _is_unused(live: Row, routes: Iterable[RouteView]) -> bool:
    has_streams = any(it.streams.get("stored") for it in routes)
    return not figures.count(live, "requests") and not has_streams


def _charts(
    recorded: _Recorded,
    recorder: Recorder,
    routes: Sequence[RouteView],
    rows: Mapping[str, list[Row | None]],
) -> Generator[None, None, Charts]:
    """Make the charts; of the origins and storages that of the slowest, in their order."""
    chart, rate = recorded.chart, figures.rate
    slowest = sorted(routes, key=lambda it: -(it.figures.p99 or 0.0))[:MOST_BEHIND]
    behind = [
        Line(it.prefix, recorded._replace(rows=rows[it.prefix]).history(BEHIND_P99))
        for it in routes
        if it in slowest
    ]
    yield
    times = chart(TIMES)
    yield
    return Charts(
        marks=recorder.events.record.marks(recorded.start),
        reads=chart({result: figures.result_rate(result) for result in RESULTS}),
        appends=chart(dict(zip(OUTCOMES, map(rate, figures.OUTCOMES.values()), strict=True))),
        times=times,
        readers=chart({"SSE": _mean("sse"), "long-poll": _mean("long-poll")}),
        refused=chart({name: rate(*of) for name, of in figures.REFUSED_BY.items()}),
        behind=Chart(recorded.start, recorded.step, tuple(behind)),
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
            errors=figures.count(whole, "errors"),
            p99=value(BEHIND_P99, whole),
            history=tuple(value(requests, row) for row in rows),
        ),
        repairs={it: int(count) for it, count in sorted(repairs, key=lambda it: (-it[1], it[0]))},
        facts=facts(route.prefix, recorder.gauges, until),
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
    for it in recorder.incidents.attention:
        if it.route == prefix and not it.mute:
            return HealthState(it.level, it.title.removesuffix(f" ({prefix})"))
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
