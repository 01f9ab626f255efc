"""The first page, its routes among it, from what was recorded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from admin.model.charts import Chart, HeatMap, Line, Stat
from admin.model.kinds import RESULTS, HealthState
from admin.model.overview import Overview, RouteFigures, RouteView, Server
from admin.record import figures, history, policy
from admin.record.event_queries import marks
from admin.record.logs import log_view
from admin.record.writes import writes
from gateway.settings import redacted_origin
from gateway.telemetry.traffic import DELIVERY_SECONDS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from admin.model.kinds import Result, Span, Transport
    from admin.model.overview import Instance
    from admin.record.figures import Row
    from admin.record.recorder import Recorder
    from gateway.settings import Route, Settings
    from gateway.telemetry.metrics import Sample

    Told = Callable[[Row | None], float | None]

HOUR_S = 3600.0
P99 = 0.99


def overview(
    recorder: Recorder, settings: Settings, instance: Instance, span: Span, now: float
) -> Overview:
    """Make the first page, for a span that ends now."""
    prefixes = [route.prefix for route in settings.route_table]
    recorded, until = recorder.history, recorder.until(now)
    start, step = recorded.start(span, until), history.step(span)
    by_route = [recorded.of(prefix, span, until) for prefix in prefixes]
    rows = [figures.together(moment) for moment in zip(*by_route, strict=True)]
    whole = figures.summed(rows)
    latest = figures.together(recorded.now(prefix, until) for prefix in prefixes)
    live = figures.together(recorder.live(prefix) for prefix in prefixes)
    before = figures.together(recorded.before(prefix, HOUR_S, until) for prefix in prefixes)

    def stat(tell: Told, of: Row | None) -> Stat:
        return Stat(tell(of), tuple(map(tell, rows)), tell(before))

    def chart(*lines: tuple[str, Told]) -> Chart:
        chart_lines = tuple(Line(name, tuple(map(tell, rows))) for name, tell in lines)
        return Chart(start, step, chart_lines)

    routes = _routes(recorder, settings, span, until)
    return Overview(
        taken_at=now,
        span=span,
        instance=instance,
        attention=recorder.incidents.attention,
        ended=recorder.incidents.ended,
        without_origin=stat(figures.without_origin, whole),
        reads=figures.reads(whole),
        collapse=stat(figures.collapse, whole),
        most_collapsed=figures.most_collapsed(whole),
        live_readers=stat(figures.readers, live),
        readers=_readers(live),
        delivery_p99=stat(_p99, whole),
        requests=stat(_rate("requests"), latest),
        appends=stat(_rate("appends"), latest),
        marks=marks(recorder.events.record, start),
        by_result=chart(*((result, _result(result)) for result in RESULTS)),
        ratio=chart(("share of reads", figures.without_origin)),
        refused=chart(*((cause, _refused_by(cause)) for cause in figures.REFUSED_BY)),
        by_transport=chart(("SSE", _readers_of("sse")), ("long-poll", _readers_of("long-poll"))),
        delivery=HeatMap(start, step, DELIVERY_SECONDS, tuple(map(figures.delivery_counts, rows))),
        routes=routes,
        writes=writes(stat, chart, latest, whole),
        logs=tuple(log_view(route, recorder.samples, recorder.growth, until) for route in routes),
    )


def _routes(
    recorder: Recorder, settings: Settings, span: Span, until: float
) -> tuple[RouteView, ...]:
    return tuple(
        _route(recorder, route, settings.auth_of(route), span, until)
        for route in settings.route_table
    )


def _route(
    recorder: Recorder, route: Route, auth: tuple[str, ...], span: Span, until: float
) -> RouteView:
    rows = recorder.history.of(route.prefix, span, until)
    latest = recorder.history.now(route.prefix, until)
    return RouteView(
        prefix=route.prefix,
        origin=redacted_origin(route.location),
        kind=policy.kind(route),
        state=route_state(recorder, route.prefix, until),
        policy=policy.sentences(route, auth),
        figures=_figures(rows, latest, recorder.live(route.prefix)),
        repairs=_repairs(recorder.samples, route.prefix),
        servers=_servers(recorder.samples, route.prefix),
        streams=_streams(recorder.samples, route.prefix),
    )


def _figures(rows: Sequence[Row | None], latest: Row | None, live: Row | None) -> RouteFigures:
    whole = figures.summed(rows)
    return RouteFigures(
        requests=figures.rate(latest, "requests"),
        without_origin=figures.without_origin(whole),
        collapse=figures.collapse(whole),
        readers=_readers(live),
        appends=figures.rate(latest, "appends"),
        errors=figures.rate(latest, "errors"),
        history=tuple(figures.rate(row, "requests") for row in rows),
    )


def _readers(row: Row | None) -> dict[Transport, int]:
    rates = {name: figures.rate(row, name) for name in figures.TRANSPORTS}
    return {name: round(number) for name, number in rates.items() if number is not None}


def _p99(row: Row | None) -> float | None:
    return figures.delivery_quantile(row, P99)


def _rate(name: str) -> Told:
    return lambda row: figures.rate(row, name)


def _readers_of(transport: Transport) -> Told:
    """Return a reader of the mean number of readers, which a row has times seconds."""
    return lambda row: None if row is None else round(figures.rate(row, transport) or 0.0, 3)


def _result(result: Result) -> Told:
    return lambda row: figures.result_rate(row, result)


def _refused_by(cause: str) -> Told:
    return lambda row: figures.refusal_rate(row, cause)


# ---------------------------------------------------------------- how it is


def route_state(recorder: Recorder, prefix: str, now: float) -> HealthState:
    """Return a route's state: by what is found about it, and by its last requests."""
    checks = {**recorder.health.checks, **recorder.health.notes}
    for what, words in (
        ("log", "log takes no appends"),
        ("origin", "origin unreachable or failing"),
        ("loss", "acknowledged appends were lost"),
    ):
        if checks.get(f"{what} {prefix}") is not None:
            return HealthState("bad", words)
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


def _repairs(samples: Sequence[Sample], prefix: str) -> dict[str, int]:
    """Return the repairs of the origin's responses since the start, the most frequent first."""
    found: dict[str, int] = {}
    for labels, number in _of_route(samples, "headgate_repairs_total", prefix):
        repair = labels.get("repair", "")
        found[repair] = found.get(repair, 0) + int(number)
    return dict(sorted(found.items(), key=lambda it: (-it[1], it[0])))


def _streams(samples: Sequence[Sample], prefix: str) -> dict[str, int]:
    """Return how many streams are stored, and how many this gateway created and removed.

    Of an HTTP origin nothing is known.
    """
    found: dict[str, int] = {}
    for _, number in _of_route(samples, "headgate_storage_streams", prefix):
        found["stored"] = int(number)
    for fate in ("created", "expired", "deleted"):
        for _, number in _of_route(samples, f"headgate_streams_{fate}_total", prefix):
            found[fate] = found.get(fate, 0) + int(number)
    return found


def _servers(samples: Sequence[Sample], prefix: str) -> tuple[Server, ...]:
    """Return the servers of an origin, in the order of their metrics."""
    failing = {
        labels.get("server")
        for labels, number in _of_route(samples, "headgate_origin_failing", prefix)
        if number
    }
    up, down = HealthState("good", "up"), HealthState("bad", "down")
    errors = HealthState("bad", "up, answers with errors only")
    return tuple(
        Server(
            labels["server"], down if not number else errors if labels["server"] in failing else up
        )
        for labels, number in _of_route(samples, "headgate_origin_up", prefix)
        if "server" in labels
    )


def _of_route(
    samples: Sequence[Sample], name: str, prefix: str
) -> list[tuple[dict[str, str], float]]:
    labelled = (
        (dict(zip(it.metric.labels, it.values, strict=True)), it.number)
        for it in samples
        if it.metric.name == name
    )
    return [(labels, number) for labels, number in labelled if labels.get("route") == prefix]
