"""Alert rules of the parts that not every configuration has, such as logs in files or origins."""

from __future__ import annotations

from headgate_gateway.monitoring.alerts_of_origins import ORIGIN_ALERTS
from headgate_gateway.monitoring.certificate_expiry import CERTIFICATE_ALERTS
from headgate_gateway.monitoring.quantities import (
    ALARM,
    COUNT_WINDOW,
    FAILED_APPEND,
    SLOW_APPEND_S,
    TARGET,
    increase,
    rate,
    ratio,
    share,
)
from headgate_gateway.monitoring.recordings import APPENDS
from headgate_gateway.monitoring.rules import Alert, Part

MIB = 1 << 20
# Less may be used up before the next scrape: a disk that is that full fires at once.
LEAST_FREE_BYTES = 64 * MIB
FEW_FREE_BYTES = 1 << 30

_OF_A_ROUTE = "job, instance, route"
_FAILED_APPENDS = increase("headgate_appends_total", _OF_A_ROUTE, FAILED_APPEND, COUNT_WINDOW)
_FAILING_APPENDS = share("headgate_appends_total", _OF_A_ROUTE, FAILED_APPEND)
_SHARE_OF_READS = "{{ $value | humanizePercentage }} of the reads of {{ $labels.route }}"
_FREE = "headgate_storage_free_bytes"


def _is_full(window: str, within_s: int, known: str) -> str:
    """Return the condition that a disk is full within so many seconds at the pace of a window.

    There have to be measurements of `known` ago: the creation of a file is not the end of the disk.
    """
    return f"predict_linear({_FREE}[{window}], {within_s}) < 0 and {_FREE} offset {known}"


def _changed_histories(lost: str) -> str:
    """Return whether histories changed within an hour, so that a late look sees it."""
    where = f'lost="{lost}"'
    return f"{increase('headgate_storage_histories_total', 'job, route', where, '1h')} > 0"


def _few_hits(
    name: str, fetches: str, fetched: str, causes: str, part: Part, *, is_symptom: bool
) -> Alert:
    """Return an alert for a cache with few hits, by the metric `fetches` of what it missed."""
    return Alert(
        name,
        # Fewer reads burden nobody. Those of live readers are answered by feeds.
        ratio(
            rate(fetches, "job, route"),
            rate("headgate_cache_results_total", "job, route"),
            least=3,
        )
        + f" > {1 - ALARM:.12g}",
        "5m",  # longer than most caches need to fill
        "warning",
        f"{_SHARE_OF_READS} were {fetched}.",
        f"At most {1 - TARGET:.0%} should be. {causes}",
        part,
        names="read",
        is_symptom=is_symptom,
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
        "access_file",
        past="{{ $labels.instance }} could not use the file of {{ $labels.setting }}.",
    ),
    *CERTIFICATE_ALERTS,
    Alert(
        "HeadgateSubscriptionStuck",
        'headgate_subscriptions{state="stuck"} > 0',
        "5m",
        "warning",
        "Subscriptions of {{ $labels.route }} that have failed for over a day: {{ $value }}.",
        "Each is tried once an hour. GET of the subscription tells last_error; nothing is lost.",
        "subscriptions",
        "subscriptions",
        past="{{ $value }} subscriptions of {{ $labels.route }} had failed for over a day.",
    ),
    Alert(
        "HeadgateSubscriptionLags",
        # A worker that takes an hour for a wake has a lease of ten minutes at most to extend.
        "headgate_subscription_oldest_seconds > 3600",
        "10m",
        "warning",
        "Events of {{ $labels.route }} have waited for {{ $value | humanizeDuration }} for their"
        " acknowledgement.",
        "headgate stream subscriptions list --order oldest names the subscriptions, and why"
        " they wait.",
        "subscriptions",
        is_symptom=True,
        past="Events of {{ $labels.route }} had waited for {{ $value | humanizeDuration }} for"
        " their acknowledgement.",
    ),
    Alert(
        "HeadgateWakesFail",
        'headgate_subscriptions{state="failed"} > 0',
        "3m",  # longer than most receivers need to restart
        "warning",
        "Subscriptions of {{ $labels.route }} on {{ $labels.instance }} whose workers cannot be"
        " woken: {{ $value }}.",
        "headgate stream subscriptions list --status failed has the reasons. Attempts are repeated,"
        " and nothing is lost.",
        "subscriptions",
        names="subscription",
        past="Subscriptions of {{ $labels.route }} on {{ $labels.instance }} whose workers could"
        " not be woken: {{ $value }}.",
    ),
    Alert(
        "HeadgateSubscriptionPaused",
        'headgate_subscriptions{state="paused"} > 0',
        "2h",  # longer than most repairs take
        "warning",
        "Subscriptions of {{ $labels.route }} that have been paused for two hours: {{ $value }}.",
        "An operator has paused them, and perhaps forgotten: headgate stream"
        " subscriptions resume ID.",
        "subscriptions",
        past="{{ $value }} subscriptions of {{ $labels.route }} had been paused for two hours.",
    ),
    Alert(
        "HeadgateSubscriptionFull",
        increase("headgate_subscription_refusals_total", _OF_A_ROUTE, 'limit="max_streams"', "1h")
        + " > 0",
        "0m",
        "warning",
        "Subscriptions of {{ $labels.route }} on {{ $labels.instance }} lacked streams.",
        "They match more than max_streams: events of others wake nobody.",
        "subscriptions",
    ),
    Alert(
        "HeadgateWorkersSilent",
        "headgate_workers_silent > 0",
        "2m",
        "warning",
        "Workers of {{ $labels.instance }} that do not answer: {{ $value }}.",
        "A worker that hangs is replaced after half a minute; /readyz names it.",
        "workers",
        "worker",
        causes=("silent", "starting", "stopped"),
        past="{{ $value }} workers of {{ $labels.instance }} did not answer.",
    ),
    Alert(
        "HeadgateWorkersRestart",
        "increase(headgate_worker_restarts_total[15m]) > 2",
        "0m",
        "warning",
        "Workers of {{ $labels.instance }} were replaced more than twice in a quarter of an hour.",
        "The log line worker.ended says what ended them.",
        "workers",
        "worker",
        causes=("ended", "replaced"),
    ),
    Alert(
        "HeadgateLogDown",
        "headgate_storage_up == 0",
        "1m",
        "critical",
        "The log of {{ $labels.route }} takes no appends on {{ $labels.instance }}.",
        "/readyz and the log line log.failed give the reason.",
        "log",
        "log",
        past="The log of {{ $labels.route }} took no appends on {{ $labels.instance }}.",
    ),
    Alert(
        "HeadgateSlowAppends",
        f"{APPENDS.record} > {SLOW_APPEND_S:g}",
        "10m",
        "warning",
        "Appends to {{ $labels.route }} took {{ $value | humanizeDuration }} (p99) on"
        " {{ $labels.instance }}.",
        "Compare the times of queue, write and sync: the disk or Redis is slow, or there are more"
        " appends than it can store.",
        "log",
    ),
    Alert(
        "HeadgateAppendsFail",
        f"{_FAILING_APPENDS} > 0.01 and {_FAILED_APPENDS} > 2",
        "2m",
        "warning",
        "{{ $value | humanizePercentage }} of the appends to {{ $labels.route }} failed on"
        " {{ $labels.instance }}.",
        "The log cannot store them, and their writers get 503: /readyz, and the log lines"
        " log.failed and log.refused, give the reason.",
        "log",
        is_symptom=True,
    ),
    Alert(
        "HeadgateDiskNearlyFull",
        # A small disk that nothing fills is no trouble.
        f"({_FREE} < {LEAST_FREE_BYTES})"
        f" or ({_FREE} < {FEW_FREE_BYTES} and {_is_full('30m', 14_400, '15m')})",
        "0m",
        "critical",
        "{{ $labels.instance }} has {{ $value | humanize1024 }}B left for {{ $labels.route }}.",
        "Without room, appends are refused. Delete streams or make the disk larger.",
        "file",
        past="{{ $labels.instance }} had {{ $value | humanize1024 }}B left for"
        " {{ $labels.route }}.",
    ),
    Alert(
        "HeadgateQuotaNearlyFull",
        ratio("headgate_storage_used_bytes", "headgate_storage_max_bytes") + " > 0.9",
        "1m",
        "warning",
        "{{ $labels.route }} on {{ $labels.instance }} uses {{ $value | humanizePercentage }} of"
        " max_storage_size.",
        "Beyond it creations and appends get 507. Delete streams or raise max_storage_size.",
        "quota",
        "quota",
        past="{{ $labels.route }} on {{ $labels.instance }} used {{ $value | humanizePercentage }}"
        " of max_storage_size.",
    ),
    Alert(
        "HeadgateDiskFills",
        # Each prediction is eight times as long as the data that there must be for it, at most.
        f"({_is_full('6h', 86_400, '3h')}) or ({_is_full('1h', 14_400, '30m')})",
        "15m",
        "warning",
        "At this pace the disk of {{ $labels.route }} on {{ $labels.instance }} is full within"
        " a day.",
        "Set an expiry for streams, delete some, or make the disk larger.",
        "file",
        past="The disk of {{ $labels.route }} on {{ $labels.instance }} was nearly full.",
    ),
    Alert(
        "HeadgateHistoryLost",
        _changed_histories("yes"),
        "0m",
        "critical",
        "The Redis of {{ $labels.route }} has lost acknowledged writes.",
        "After a restart or failover it lacks the last writes that it had acknowledged. The offsets"
        " of lost data get 410.",
        "redis",
        "loss",
        past="The Redis of {{ $labels.route }} lost acknowledged writes.",
    ),
    Alert(
        "HeadgateHistoryChanged",
        # Of gateways that share a Redis, one that can tell is enough.
        f"{_changed_histories('unknown')} unless {_changed_histories('no')}",
        "0m",
        "warning",
        "The Redis of {{ $labels.route }} has restarted or failed over, and no gateway can tell"
        " whether writes are lost.",
        "No gateway had stored anything there since its start, or another gateway wrote to the"
        " same stream before it could check.",
        "redis",
        past="The Redis of {{ $labels.route }} restarted or failed over, and no gateway could tell"
        " whether writes were lost.",
    ),
    Alert(
        "HeadgateRedisAofFails",
        "headgate_redis_aof_ok == 0 and headgate_redis_aof_enabled == 1",
        "1m",
        "critical",
        "The Redis of {{ $labels.route }} cannot write its append-only file.",
        "A restart of this Redis would lose streams. Look at its log and its disk.",
        "redis",
        past="The Redis of {{ $labels.route }} could not write its append-only file.",
    ),
    Alert(
        "HeadgateRedisReplicaLags",
        f"headgate_redis_replica_lag_bytes > {16 * MIB}",
        "5m",
        "warning",
        "A replica of the Redis of {{ $labels.route }} is {{ $value | humanize1024 }}B behind.",
        "A failover now would lose as much.",
        "redis",
        past="A replica of the Redis of {{ $labels.route }} was {{ $value | humanize1024 }}B"
        " behind.",
    ),
    _few_hits(
        "HeadgateRedisFewHits",
        "headgate_redis_refetches_total",
        "fetched from Redis although they had been fetched before",
        "Look for a cache that is off or too small, query parameters that differ from reader to"
        " reader, and streams with a TTL, which are not cached.",
        "redis",
        is_symptom=False,  # a fetch that fails is not counted
    ),
    Alert(
        "HeadgatePurgesFail",
        # A purge is tried once a minute at least, whatever waits.
        rate("headgate_purges_total", "job, instance, cache", 'result=~"failed|abandoned"')
        + " > 0",
        "10m",
        "warning",
        "{{ $labels.instance }} could not purge {{ $labels.cache }}.",
        "Readers may still get deleted streams. /readyz and the log line purge.failed give the"
        " reason.",
        "purges",
        "purge",
    ),
    _few_hits(
        "HeadgateFewHits",
        "headgate_origin_fetches_total",
        "fetched from the origin",
        "Look for query parameters that differ from reader to reader, identity headers, short"
        " lifetimes, and a cache that is too small. A new one fills by itself.",
        "origin",
        is_symptom=True,  # errors are not cached: an origin that fails has few hits
    ),
    *ORIGIN_ALERTS,
)
