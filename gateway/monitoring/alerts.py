"""Alert rules for Prometheus, one for each fault that an operator has to know of.

Thresholds stand beside their reason. An expression without a sample, such as a ratio of no
requests, alerts nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.monitoring import objective as objectives
from gateway.monitoring import promql
from gateway.monitoring.certificate_expiry import CERTIFICATE_ALERTS
from gateway.monitoring.parts import parts_of
from gateway.monitoring.rules import Alert, RecordingRule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.settings import Settings

GIB = 1 << 30
MIB = 1 << 20


TARGET = RecordingRule("headgate:served_without_origin:target", f"vector({promql.TARGET:g})")
SERVED = RecordingRule(
    "job_route:headgate_served_without_origin:ratio_rate5m",
    promql.served_without_origin("job, route"),
)
COLLAPSED = RecordingRule(
    "job_route:headgate_collapsed_readers:mean_rate5m",
    promql.mean("headgate_collapsed_readers", "job, route"),
)
DELIVERY = RecordingRule(
    "instance_route:headgate_delivery_seconds:p99_rate5m",
    promql.quantile(0.99, "headgate_delivery_seconds", "job, instance, route"),
)
LOOP_LAG = RecordingRule(
    "instance:headgate_event_loop_lag_seconds:p99_rate5m",
    promql.quantile(0.99, "headgate_event_loop_lag_seconds", "job, instance"),
)
APPENDS = RecordingRule(
    "instance_route:headgate_append_duration_seconds:p99_rate5m",
    promql.quantile(0.99, "headgate_append_duration_seconds", "job, instance, route"),
    "log",
)
ORIGIN_FAILURES = RecordingRule(
    "job_route:headgate_origin_failures:ratio_rate5m",
    promql.origin_failures("job, route"),
    "origin",
)
RECORDINGS = (
    *(TARGET, SERVED, COLLAPSED, DELIVERY, LOOP_LAG, APPENDS, ORIGIN_FAILURES),
    *objectives.RECORDINGS,
)

# Without those of paths that no route has, which nobody can serve.
_READS = promql.rate("headgate_cache_results_total", "job, route", 'route!="none"')
_READERS = promql.total("headgate_live_readers", "job, route")
_FEEDS = promql.total("headgate_feeds", "job, route")
_SSE_READERS = promql.total("headgate_live_readers", "job, route", 'mode="sse"')
_ORIGIN_REQUESTS = promql.rate("headgate_origin_requests_total", "job, route")
_FAILED_PURGES = promql.rate(
    "headgate_purges_total", "job, instance, cache", 'result=~"failed|abandoned"'
)
_SLOW = promql.total("headgate_slow_readers", "job, route")
_SERVER_ERRORS = promql.increase("headgate_requests_total", "job, route", promql.SERVER_ERROR)
_FAILED_APPENDS = promql.increase(
    "headgate_appends_total", "job, instance, route", promql.FAILED_APPEND
)
_FREE = "headgate_log_free_bytes"
_OF_ONE_LOG = "and on (job, instance, route)"


def _changed_histories(lost: str) -> str:
    """Return the number of histories that changed within an hour, so that a late look sees it."""
    return promql.increase("headgate_log_histories_total", "job, route", f'lost="{lost}"', "1h")


OF_EVERY_GATEWAY = (
    Alert(
        "HeadgateDown",
        # Of a target that was a gateway within a day, since all targets have `up`.
        "up == 0 and on (job, instance) last_over_time(headgate_build_info[1d])",
        "1m",
        "critical",
        "{{ $labels.instance }} cannot be scraped.",
        "The gateway is down, or its admin listener cannot be reached or refuses the token.",
    ),
    Alert(
        "HeadgateFewHits",
        # Below one read a second a ratio says nothing.
        f"{SERVED.record} < {promql.ALARM:g} and {_READS} > 1",
        "10m",
        "warning",
        "{{ $labels.route }} serves {{ $value | humanizePercentage }} without the origin.",
        f"The target is {promql.TARGET:.0%}. Look for live reads without a cursor, short lifetimes,"
        " identity headers, and a cache that is too small.",
    ),
    Alert(
        "HeadgateReadersApart",
        # Ten readers a feed should share what one alone would have fetched.
        f"{COLLAPSED.record} < 2 and {_READERS} / {_FEEDS} > 10",
        "10m",
        "warning",
        "Only {{ $value | humanize }} readers of {{ $labels.route }} share a fetch.",
        "Many readers follow the same streams, but their requests are not collapsed: look for"
        " identity headers and for cursors that are not sent back.",
    ),
    Alert(
        "HeadgateSlowDelivery",
        f"{DELIVERY.record} > 1",  # a reader notices a second
        "10m",
        "warning",
        "{{ $labels.instance }} delivers new data of {{ $labels.route }} after"
        " {{ $value | humanizeDuration }} (p99).",
        "The gateway is short of CPU time, or a process has too many readers: add workers or"
        " gateways.",
    ),
    Alert(
        "HeadgateSlowReaders",
        f"{_SLOW} / {_SSE_READERS} > 0.1 and {_SSE_READERS} >= 20",  # one of few says nothing
        "10m",
        "warning",
        "{{ $value | humanizePercentage }} of the SSE readers of {{ $labels.route }} do not"
        " keep up.",
        "A few slow readers are normal. Many share a bottleneck: the gateway's network, or a"
        " proxy that buffers.",
    ),
    Alert(
        "HeadgateEventLoopStalls",
        f"{LOOP_LAG.record} > 0.25",
        "5m",
        "warning",
        "The event loop of {{ $labels.instance }} stalls for {{ $value | humanizeDuration }}"
        " (p99).",
        "All readers and writers of the process wait as long: it is short of CPU time.",
    ),
    Alert(
        "HeadgateFewFilesLeft",
        "process_open_fds / process_max_fds > 0.8 and on (job, instance) headgate_build_info",
        "5m",
        "warning",
        "{{ $labels.instance }} uses {{ $value | humanizePercentage }} of its open-file limit.",
        "At 90 % connections are refused. Raise the open-file limit, or add gateways.",
    ),
    Alert(
        "HeadgateServerErrors",
        # One or two in five minutes may be of a single restart.
        f"{objectives.errors('5m')} > 0.05 and {_SERVER_ERRORS} > 2",
        "2m",
        "warning",
        "{{ $value | humanizePercentage }} of the requests to {{ $labels.route }} get 5xx.",
        "The log has the reason of each error; /readyz names a log or an origin that is down.",
    ),
    Alert(
        "HeadgateRefuses",
        f"{promql.rate('headgate_refusals_total', 'job, instance, limit')} > 0",
        "5m",
        "warning",
        "{{ $labels.instance }} refuses requests beyond the limit {{ $labels.limit }}.",
        "Clients are refused all the time. Raise the setting of this name, or add gateways.",
    ),
)

OF_PARTS = (
    Alert(
        "HeadgateAccessFileRefused",
        "headgate_access_file_ok == 0",
        "1m",  # longer than any editor needs to write a file
        "warning",
        "{{ $labels.instance }} cannot use the present file of {{ $labels.setting }}.",
        "The former content stays in force: later revocations and additions have no effect, and"
        " a restart would fail. /readyz and the log line access.file_refused say why.",
        "access_files",
    ),
    *CERTIFICATE_ALERTS,
    Alert(
        "HeadgateWorkersSilent",
        "headgate_workers_silent > 0",
        "2m",
        "warning",
        "{{ $value }} workers of {{ $labels.instance }} do not answer.",
        "A worker that hangs is replaced after half a minute; /readyz names it.",
        "workers",
    ),
    Alert(
        "HeadgateWorkersRestart",
        "increase(headgate_worker_restarts_total[15m]) > 2",
        "0m",
        "warning",
        "Workers of {{ $labels.instance }} were replaced more than twice in a quarter of an hour.",
        "The log line worker.ended says what ended them.",
        "workers",
    ),
    Alert(
        "HeadgateLogDown",
        "headgate_log_up == 0",
        "1m",
        "critical",
        "The log of {{ $labels.route }} takes no appends on {{ $labels.instance }}.",
        "/readyz and the log line log.failed give the reason.",
        "log",
    ),
    Alert(
        "HeadgateSlowAppends",
        f"{APPENDS.record} > 0.5",  # a sync takes milliseconds, on a bad disk tens of them
        "10m",
        "warning",
        "Appends to {{ $labels.route }} take {{ $value | humanizeDuration }} (p99) on"
        " {{ $labels.instance }}.",
        "Compare the times of queue, write and sync: the disk or Redis is slow, or there are more"
        " appends than it can store.",
        "log",
    ),
    Alert(
        "HeadgateAppendsFail",
        f"{promql.failed_appends('job, instance, route')} > 0.01 and {_FAILED_APPENDS} > 2",
        "2m",
        "warning",
        "{{ $value | humanizePercentage }} of the appends to {{ $labels.route }} fail on"
        " {{ $labels.instance }}.",
        "The log cannot store them, and their writers get 503: /readyz, and the log lines"
        " log.failed and log.refused, give the reason.",
        "log",
    ),
    Alert(
        "HeadgateDiskNearlyFull",
        f"headgate_log_free_bytes < {GIB}",
        "5m",
        "critical",
        "{{ $labels.instance }} has {{ $value | humanize1024 }}B left for {{ $labels.route }}.",
        "Without room, appends are refused. Delete streams or make the disk larger.",
        "file",
    ),
    Alert(
        "HeadgateQuotaNearlyFull",
        "headgate_log_used_bytes / headgate_log_max_bytes > 0.9",
        "5m",
        "warning",
        "{{ $labels.route }} on {{ $labels.instance }} uses {{ $value | humanizePercentage }} of"
        " max_log_size.",
        "Beyond it creations and appends get 507. Delete streams or raise max_log_size.",
        "quota",
    ),
    Alert(
        "HeadgateDiskFills",
        # Each prediction is eight times as long as the data that there must be for it, at most: of
        # minutes, the creation of a file would be the end of the disk.
        f"(predict_linear({_FREE}[6h], 86400) < 0 {_OF_ONE_LOG} {_FREE} offset 3h)"
        f" or (predict_linear({_FREE}[1h], 14400) < 0 {_OF_ONE_LOG} {_FREE} offset 30m)",
        "15m",
        "warning",
        "At this pace the disk of {{ $labels.route }} on {{ $labels.instance }} is full within"
        " a day.",
        "Set an expiry for streams, delete some, or make the disk larger.",
        "file",
    ),
    Alert(
        "HeadgateWalDamaged",
        "headgate_log_damaged_wals > 0",
        "0m",
        "critical",
        "Acknowledged appends to {{ $labels.route }} are lost on {{ $labels.instance }}.",
        "A crash has left a damaged WAL; docs/operating.md says what to do.",
        "file",
    ),
    Alert(
        "HeadgateHistoryLost",
        f"{_changed_histories('yes')} > 0",
        "0m",
        "critical",
        "The Redis of {{ $labels.route }} has lost acknowledged writes.",
        "After a restart or failover it lacks the last writes that it had acknowledged. The offsets"
        " of lost data get 410.",
        "redis",
    ),
    Alert(
        "HeadgateHistoryChanged",
        # Of gateways that share a Redis, one that can tell is enough.
        f"{_changed_histories('unknown')} > 0 unless {_changed_histories('no')} > 0",
        "0m",
        "warning",
        "The Redis of {{ $labels.route }} has restarted or failed over, and no gateway can tell"
        " whether writes are lost.",
        "No gateway had stored anything there since its start, or another gateway wrote to the"
        " same stream before it could check.",
        "redis",
    ),
    Alert(
        "HeadgateRedisAofFails",
        "headgate_redis_aof_ok == 0 and headgate_redis_aof_enabled == 1",
        "1m",
        "critical",
        "The Redis of {{ $labels.route }} cannot write its append-only file.",
        "A restart of this Redis would lose streams. Look at its log and its disk.",
        "redis",
    ),
    Alert(
        "HeadgateRedisReplicaLags",
        f"headgate_redis_replica_lag_bytes > {16 * MIB}",
        "5m",
        "warning",
        "A replica of the Redis of {{ $labels.route }} is {{ $value | humanize1024 }}B behind.",
        "A failover now would lose as much.",
        "redis",
    ),
    Alert(
        "HeadgatePurgesFail",
        f"{_FAILED_PURGES} > 0",  # it is tried once a minute at least, whatever waits
        "10m",
        "warning",
        "{{ $labels.instance }} cannot purge {{ $labels.cache }}.",
        "Readers may still get deleted streams. /readyz and the log line purge.failed give the"
        " reason.",
        "purges",
    ),
    Alert(
        "HeadgateOriginServerDown",
        "headgate_origin_up == 0",
        "5m",
        "warning",
        "{{ $labels.instance }} cannot reach {{ $labels.server }}, an origin of"
        " {{ $labels.route }}.",
        "Requests go to the other servers of the route, if there are any.",
        "origin",
    ),
    Alert(
        "HeadgateOriginDown",
        "max by (job, instance, route) (headgate_origin_up) == 0",
        "1m",
        "critical",
        "{{ $labels.instance }} cannot reach any server of the origin of {{ $labels.route }}.",
        "Readers get what is cached, and writers get 502.",
        "origin",
    ),
    Alert(
        "HeadgateOriginErrors",
        # One failure in five minutes is 5 % of 20 requests: of fewer it says nothing.
        f"{ORIGIN_FAILURES.record} > 0.05 and {_ORIGIN_REQUESTS} > 0.1",
        "5m",
        "warning",
        "{{ $value | humanizePercentage }} of the requests to the origin of"
        " {{ $labels.route }} fail.",
        "The origin's log says why it answers 5xx; the gateway's log line origin.failed has the"
        " other failures.",
        "origin",
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
    missing = " or ".join(
        f'headgate_redis_connected_replicas{{route="{route.prefix}"}} < {route.wait_replicas}'
        for route in settings.route_table
        if route.wait_replicas
    )
    if missing:
        yield Alert(
            "HeadgateRedisReplicasMissing",
            missing,
            "1m",
            "critical",
            "The Redis of {{ $labels.route }} has {{ $value }} replicas, and appends wait for"
            " more.",
            "Appends get 503 until as many as wait_replicas are connected.",
            "redis",
        )
