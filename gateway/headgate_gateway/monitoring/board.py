"""The twelve panels of the board, and its annotations: what each shows, and the queries behind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from headgate_gateway.monitoring.quantities import (
    ALARM,
    SERVED_HERE,
    SERVER_ERROR,
    TARGET,
    mean,
    quantile,
    rate,
    total,
)
from headgate_gateway.monitoring.rules import Part, parts_of

if TYPE_CHECKING:
    from headgate_gateway.settings import Settings

# What the variables at the top of the board choose.
OF_PROCESS = 'job=~"$job", instance=~"$instance"'
OF_ROUTE = f'{OF_PROCESS}, route=~"$route"'
WINDOW = "$__rate_interval"

# The same result has the same colour here and on the admin listener's own pages.
COLOURS = {
    "hit": "#2563eb",
    "collapsed": "#0d9488",
    "revalidated": "#7c3aed",
    "stale": "#b45309",
    "miss": "#64748b",
    "bypass": "#94a3b8",
    "error": "#b91c1c",
}
BAD, WARNING, GOOD = COLOURS["error"], COLOURS["stale"], "#15803d"


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """An expression and what its series are called; `unit` is Grafana's, if not the panel's."""

    expr: str
    legend: str
    part: Part | None = None
    unit: str | None = None


@dataclass(frozen=True, slots=True)
class Level:
    """From which value on something has another colour."""

    value: float | None  # None is below everything
    colour: str


@dataclass(frozen=True, slots=True)
class Panel:
    """A panel of the board. `empty` is what it says without a sample."""

    title: str
    description: str
    unit: str
    queries: tuple[PanelQuery, ...]
    kind: Literal["timeseries", "heatmap", "state-timeline", "stat"] = "timeseries"
    stacked: bool = False
    most: float | None = None
    levels: tuple[Level, ...] = ()
    empty: str = "Nothing yet"


@dataclass(frozen=True, slots=True)
class Annotation:
    """Marks across all panels, one for each time at which `expr` is over 0."""

    name: str
    expr: str
    title: str
    text: str
    colour: str
    is_time: bool = False  # the value is the time itself, in epoch milliseconds


ANNOTATIONS = (
    Annotation(
        "Starts of gateways",
        f"process_start_time_seconds{{{OF_PROCESS}}} * 1000",
        "Gateway started",
        "{{instance}}",
        COLOURS["hit"],
        is_time=True,
    ),
    Annotation(
        "Replaced workers",
        f"increase(headgate_worker_restarts_total{{{OF_PROCESS}}}[{WINDOW}])",
        "Worker replaced",
        "{{instance}}",
        WARNING,
    ),
    Annotation(
        "Incidents",
        # Alerts on all gateways of a route have no instance.
        'ALERTS{alertname=~"Headgate.+", alertstate="firing", job=~"$job"}',
        "{{alertname}}",
        "{{severity}} {{route}} {{instance}}",
        BAD,
    ),
)
_READS = "headgate_cache_results_total"


def _rate(metric: str, by: str, where: str = "", of: str = OF_ROUTE) -> str:
    return rate(metric, by, f"{where}, {of}" if where else of, WINDOW)


def _quantiles(histogram: str, what: str, part: Part | None = None) -> tuple[PanelQuery, ...]:
    """Return the queries for the median and the 99th percentile of a histogram."""
    return tuple(
        PanelQuery(
            quantile(q, histogram, "route", OF_ROUTE, WINDOW),
            f"{what} p{q * 100:.0f} {{{{route}}}}",
            part,
        )
        for q in (0.5, 0.99)
    )


PANELS = (
    Panel(
        "Served without the origin",
        "The share of reads that were answered by a hit, a stale copy, or an answer shared with"
        f" others. The target is {TARGET:.0%}. An alert fires if an HTTP origin or a Redis has to"
        f" answer more than {1 - ALARM:.0%}; a log in files or in memory reads its own disk.",
        "percentunit",
        (
            PanelQuery(
                f"{_rate(_READS, 'route', SERVED_HERE)} / {_rate(_READS, 'route')}",
                "{{route}}",
            ),
        ),
        most=1,
        levels=(Level(None, BAD), Level(ALARM, WARNING), Level(TARGET, GOOD)),
        empty="No reads yet",
    ),
    Panel(
        "Requests by result",
        "Reads by what the cache did with them; errors are the 5xx answers to all requests.",
        "reqps",
        (
            PanelQuery(_rate("headgate_cache_results_total", "result"), "{{result}}"),
            PanelQuery(
                _rate("headgate_requests_total", "", SERVER_ERROR, OF_PROCESS),
                "error",
            ),
        ),
        stacked=True,
        empty="No requests yet",
    ),
    Panel(
        "Origin requests and errors",
        "Requests to HTTP origins by the class of the answer, or by what went wrong, and how many"
        " are under way.",
        "reqps",
        (
            PanelQuery(_rate("headgate_origin_requests_total", "result"), "{{result}}", "origin"),
            PanelQuery(
                total("headgate_origin_requests_in_flight", "route", OF_ROUTE),
                "under way {{route}}",
                "origin",
                unit="short",
            ),
        ),
        empty="No route has an HTTP origin",
    ),
    Panel(
        "Collapse factor",
        "How many readers one fetch from the origin, one read of the log or one live answer is"
        " given to. One means that nobody shares.",
        "short",
        (
            PanelQuery(
                mean("headgate_collapsed_readers", "route", OF_ROUTE, WINDOW),
                "{{route}}",
            ),
        ),
        empty="No reads yet",
    ),
    Panel(
        "Live readers",
        "Readers that wait for news, by transport, and how many join and leave a second.",
        "short",
        (
            PanelQuery(total("headgate_live_readers", "mode", OF_ROUTE), "{{mode}}"),
            PanelQuery(
                _rate("headgate_live_reader_joins_total", "mode"),
                "{{mode}} joins",
                unit="ops",
            ),
            PanelQuery(
                _rate("headgate_live_reader_leaves_total", "mode"),
                "{{mode}} leaves",
                unit="ops",
            ),
        ),
        empty="Nobody follows a stream",
    ),
    Panel(
        "Delivery delay",
        "From the commit of an append, or the arrival of an origin's news, to its write to the"
        " reader's socket.",
        "s",
        (
            PanelQuery(
                f"sum by (le) (increase(headgate_delivery_seconds_bucket{{{OF_ROUTE}}}[{WINDOW}]))",
                "{{le}}",
            ),
        ),
        kind="heatmap",
        empty="Nothing was delivered yet",
    ),
    Panel(
        "Appends and group size",
        "Appends by their result, and how many were committed together. Larger groups are the"
        " answer to more appends than the log makes syncs.",
        "ops",
        (
            PanelQuery(_rate("headgate_appends_total", "result"), "{{result}}", "log"),
            PanelQuery(
                mean("headgate_commit_appends", "route", OF_ROUTE, WINDOW),
                "group size {{route}}",
                "log",
                unit="short",
            ),
        ),
        empty="No appends to a log of this gateway yet",
    ),
    Panel(
        "Time of appends and syncs",
        "Half and all but a hundredth of the appends were faster than this, from the whole body"
        " being here to the outcome being known; of it, the sync of the log.",
        "s",
        (
            *_quantiles("headgate_append_duration_seconds", "append", "log"),
            *_quantiles("headgate_commit_sync_seconds", "sync", "file"),
        ),
        empty="No appends to a log of this gateway yet",
    ),
    Panel(
        "Resumes by kind",
        "Where reads begin: at an offset that the reader has kept, at the start, in a gap that"
        " the reader was told of, or at the end of a closed stream.",
        "ops",
        (PanelQuery(_rate("headgate_resumes_total", "kind"), "{{kind}}"),),
        empty="No reads yet",
    ),
    Panel(
        "Slow readers",
        "Readers that have left the live rounds since their connections are full, what is"
        " unsent to them, and how many leave the rounds a second.",
        "short",
        (
            PanelQuery(total("headgate_slow_readers", "route", OF_ROUTE), "{{route}}"),
            PanelQuery(
                total("headgate_slow_reader_bytes", "route", OF_ROUTE),
                "unsent {{route}}",
                unit="bytes",
            ),
            PanelQuery(
                _rate("headgate_slow_readers_detached_total", "route"),
                "detached {{route}}",
                unit="ops",
            ),
        ),
        empty="All readers keep up",
    ),
    Panel(
        "States",
        "Gateways, the logs of their routes, and the servers of their origins: up, down, or"
        " draining before a stop.",
        "short",
        (
            # A gateway of which a process drains is 2; one that is down has no number but `up`.
            PanelQuery(
                f"up{{{OF_PROCESS}}} + on (job, instance) clamp_max(headgate_draining, 1)"
                f" or on (job, instance) up{{{OF_PROCESS}}}",
                "gateway {{instance}}",
            ),
            PanelQuery(
                f"min by (instance, route) (headgate_storage_up{{{OF_ROUTE}}})",
                "log {{route}} of {{instance}}",
                "log",
            ),
            PanelQuery(
                f"min by (instance, route, server) (headgate_origin_up{{{OF_ROUTE}}})",
                "origin {{server}} of {{route}} at {{instance}}",
                "origin",
            ),
        ),
        kind="state-timeline",
        empty="Nothing is scraped",
    ),
    Panel(
        "Saturation",
        "What runs out first: time of the event loop (p99 of its lag), open files, memory, the"
        " disks of logs, the memory of Redis, and what was refused, by the limit that was met.",
        "short",
        (
            PanelQuery(
                quantile(0.99, "headgate_event_loop_lag_seconds", "instance", OF_PROCESS, WINDOW),
                "loop lag {{instance}}",
                unit="s",
            ),
            PanelQuery(
                f"(process_open_fds{{{OF_PROCESS}}} / process_max_fds{{{OF_PROCESS}}})",
                "open files {{instance}}",
                unit="percentunit",
            ),
            PanelQuery(
                total("process_resident_memory_bytes", "instance", OF_PROCESS),
                "memory {{instance}}",
                unit="bytes",
            ),
            PanelQuery(
                f"min by (instance, route) (headgate_storage_free_bytes{{{OF_ROUTE}}})",
                "free disk {{route}} of {{instance}}",
                "file",
                unit="bytes",
            ),
            PanelQuery(
                f"max by (route) (headgate_redis_memory_bytes{{{OF_ROUTE}}})",
                "Redis memory {{route}}",
                "redis",
                unit="bytes",
            ),
            PanelQuery(
                _rate("headgate_refusals_total", "limit", of=OF_PROCESS),
                "refused by {{limit}}",
                unit="ops",
            ),
        ),
        kind="stat",
    ),
)


def queries(panel: Panel, settings: Settings) -> list[PanelQuery]:
    """Return the queries that fit the configuration; all, where none does: the panel stays."""
    parts = parts_of(settings)
    fitting = [query for query in panel.queries if query.part is None or query.part in parts]
    return fitting or list(panel.queries)
