"""Alert rules, one for each fault that an operator has to know of.

Prometheus evaluates them (`headgate monitor alerts`), and the console those whose series a gateway
has of itself. Thresholds stand beside their reason. A quantity without a value, such as a ratio of
no requests, alerts nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.monitoring import objective as objectives
from headgate_gateway.monitoring.alerts_of_parts import OF_PARTS
from headgate_gateway.monitoring.quantities import (
    COUNT_WINDOW,
    MOST_ERRORS,
    SERVER_ERROR,
    SLOW_DELIVERY_S,
    increase,
    rate,
    total,
)
from headgate_gateway.monitoring.recordings import COLLAPSED, DELIVERY, LOOP_LAG, RECORDINGS
from headgate_gateway.monitoring.rules import Alert, RecordingRule, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from headgate_gateway.settings import Settings

# Of one stream: 22 GB a day, a hundred times the text that the fastest model writes.
FAST_GROWTH_BYTES = 256 * 1024

_READERS = total("headgate_live_readers", "job, route")
_FEEDS = total("headgate_feeds", "job, route")
_SSE_READERS = total("headgate_live_readers", "job, route", 'mode="sse"')
_SLOW = total("headgate_slow_readers", "job, route")
_REFUSALS = rate("headgate_refusals_total", "job, instance, limit")
_SERVER_ERRORS = increase("headgate_requests_total", "job, route", SERVER_ERROR, COUNT_WINDOW)

OF_EVERY_GATEWAY = (
    Alert(
        "HeadgateDown",
        # Of a target that was a gateway within a day, since all targets have `up`.
        "up == 0 and on (job, instance) last_over_time(headgate_build_info[1d])",
        "1m",
        "critical",
        "{{ $labels.instance }} cannot be scraped.",
        "The gateway is down, or its admin listener cannot be reached or refuses the token.",
        past="{{ $labels.instance }} could not be scraped.",
    ),
    Alert(
        "HeadgateReadersApart",
        # Ten readers a feed should share what one alone would have fetched.
        f"{COLLAPSED.record} < 2 and {_READERS} / {_FEEDS} > 10",
        "10m",
        "warning",
        "Only {{ $value | humanize }} readers of {{ $labels.route }} shared a fetch.",
        "Many readers follow the same streams, but their requests are not collapsed: look for"
        " identity headers and for cursors that are not sent back.",
    ),
    Alert(
        "HeadgateSlowDelivery",
        f"{DELIVERY.record} > {SLOW_DELIVERY_S:g}",
        "10m",
        "warning",
        "{{ $labels.instance }} delivered new data of {{ $labels.route }} after"
        " {{ $value | humanizeDuration }} (p99).",
        "The gateway is short of CPU time, or a process has too many readers: add workers or"
        " gateways.",
    ),
    Alert(
        "HeadgateSlowReaders",
        # One of few readers says nothing.
        f"{_SLOW} / {_SSE_READERS} > 0.1 and {_SSE_READERS} >= 20",
        "10m",
        "warning",
        "{{ $value | humanizePercentage }} of the SSE readers of {{ $labels.route }} do not"
        " keep up.",
        "A few slow readers are normal. Many share a bottleneck: the gateway's network, or a"
        " proxy that buffers.",
        past="{{ $value | humanizePercentage }} of the SSE readers of {{ $labels.route }} did not"
        " keep up.",
    ),
    Alert(
        "HeadgateEventLoopStalls",
        f"{LOOP_LAG.record} > 0.25",
        "5m",
        "warning",
        "The event loop of {{ $labels.instance }} stalled for {{ $value | humanizeDuration }}"
        " (p99).",
        "All readers and writers of the process wait as long: it is short of CPU time.",
    ),
    Alert(
        "HeadgateFewFilesLeft",
        # Other programs have these metrics, too.
        "process_open_fds / process_max_fds > 0.8 and on (job, instance) headgate_build_info",
        "5m",
        "warning",
        "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its open-file limit.",
        "At 90 % connections are refused. Raise the open-file limit, or add gateways.",
        past="{{ $labels.instance }} used {{ $value | humanizePercentage }} of its open files.",
    ),
    Alert(
        "HeadgateServerErrors",
        # One or two in five minutes may be of a single restart.
        f"{objectives.errors('5m')} > {MOST_ERRORS} and {_SERVER_ERRORS} > 2",
        "2m",
        "warning",
        "{{ $value | humanizePercentage }} of the requests to {{ $labels.route }} got 5xx.",
        "The log has the reason of each error; /readyz names a log or an origin that is down.",
        is_symptom=True,
    ),
    Alert(
        "HeadgateSettingsRefused",
        "headgate_config_last_reload_successful == 0",
        "1m",  # longer than any editor needs to write a file
        "warning",
        "{{ $labels.instance }} cannot use its settings as they are written now.",
        "Those read before stay in force, and a restart may fail. /readyz names each mistake.",
        check="settings",
        past="{{ $labels.instance }} could not use its settings as they were written.",
    ),
    Alert(
        "HeadgateClockSet",
        "increase(headgate_clock_sets_total[1h]) > 0",
        "0m",
        "warning",
        "The clock of {{ $labels.instance }} was set.",
        "Streams expire by the time that passes, but tokens and certificates go by the clock: see"
        " whether it is right now, and who sets it.",
        check="clock",
    ),
    Alert(
        "HeadgateRequestsRefused",
        # Fewer than 15 in five minutes are a client's mistake, such as one body that is too large.
        f"{_REFUSALS} > 0.05",
        "2m",
        "warning",
        "{{ $labels.instance }} refused requests beyond the limit {{ $labels.limit }}.",
        "Clients are refused all the time: the console names them (Clients, Refusals). Ban or limit"
        " the loudest. Raise the setting of this name, or add gateways, if you want the requests of"
        " all.",
        still=f"{_REFUSALS} > 0",
    ),
    Alert(
        "HeadgateStreamGrows",
        f"headgate_fastest_stream_bytes > {FAST_GROWTH_BYTES}",
        "2m",
        "warning",
        "A stream of {{ $labels.instance }} grew by {{ $value | humanize1024 }}B a second.",
        "Limit what is kept of it, or stop its writer: Needs attention in the console names it.",
        names="stream",
    ),
)


def recordings(settings: Settings) -> list[RecordingRule]:
    """Return the recording rules that fit the configuration."""
    parts = parts_of(settings)
    return [one for one in RECORDINGS if one.part is None or one.part in parts]


def alerts(settings: Settings, objective: float = objectives.OBJECTIVE) -> list[Alert]:
    """Return the alerts that fit the configuration; `objective` is in percent."""
    parts = parts_of(settings)
    of_parts = [one for one in OF_PARTS if one.part in parts]
    burns = objectives.burn_alerts(objective)
    return [*OF_EVERY_GATEWAY, *burns, *of_parts, *_missing_replicas(settings)]


def _missing_replicas(settings: Settings) -> Iterator[Alert]:
    """Return the rule for all routes whose appends wait for replicas, each with its number."""
    missing = [
        f'headgate_redis_connected_replicas{{route="{route.prefix}"}} < {route.wait_replicas}'
        for route in settings.route_table
        if route.wait_replicas
    ]
    if missing:
        yield Alert(
            "HeadgateRedisReplicasMissing",
            " or ".join(f"({one})" for one in missing) if len(missing) > 1 else missing[0],
            "1m",
            "critical",
            "The Redis of {{ $labels.route }} has {{ $value }} replicas, and appends wait for"
            " more.",
            "Appends get 503 until as many as wait_replicas are connected.",
            "redis",
            past="The Redis of {{ $labels.route }} had {{ $value }} replicas, and appends waited"
            " for more.",
        )
