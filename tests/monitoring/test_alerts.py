"""Each alert fires when it is to and not before, as Prometheus' own checker plays it."""

from __future__ import annotations

import json
import re
from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import pytest
import yaml
from click.testing import CliRunner

from headgate_gateway.__main__ import cli
from headgate_gateway.monitoring.alerts import alerts
from headgate_gateway.monitoring.files import rules_file
from headgate_gateway.settings import AdminToken, Settings
from tests.monitoring.configurations import (
    EVERYTHING,
    FILES,
    MEMORY,
    ORIGIN,
    REDIS,
    WORKERS,
)
from tests.monitoring.promtool import play, promtool
from tests.test_docs import document, rows, section

if TYPE_CHECKING:
    from pathlib import Path

    from click.testing import Result

# Words in the names of alerts on a part that not each gateway has, and an alert on it.
OF_PARTS = {
    "Origin": "HeadgateOriginDown",
    "Log": "HeadgateLogDown",
    "Append": "HeadgateSlowAppends",
    "Subscription": "HeadgateSubscriptionStuck",
    "Disk": "HeadgateDiskFills",
    "History": "HeadgateHistoryLost",
    "Redis": "HeadgateRedisAofFails",
    "Workers": "HeadgateWorkersSilent",
    "Replicas": "HeadgateRedisReplicasMissing",
    "Purges": "HeadgatePurgesFail",
    "AccessFile": "HeadgateAccessFileRefused",
    "Quota": "HeadgateQuotaNearlyFull",
    "Certificate": "HeadgateCertificateExpires",
}
LOGS = {"Log", "Append", "Subscription"}

CONSOLE = "http://127.0.0.1:4439/alerts"
PROCESS = 'job="headgate", instance="a:1"'
ROUTE = f'{PROCESS}, route="/r"'
DAY_S = 86_400
BY_PROCESS = {"job": "headgate", "instance": "a:1"}
BY_ROUTE = {**BY_PROCESS, "route": "/r"}
BY_ROUTE_OF_ALL = {"job": "headgate", "route": "/r"}
Pair: TypeAlias = tuple[dict[str, str], dict[str, str]]


class Case(NamedTuple):
    """Series that make an alert fire, and series just below the threshold.

    The alert fires at `minute`, and not yet at the evaluation before.
    """

    name: str
    series: dict[str, str]
    quiet: dict[str, str]
    minute: int
    summary: str
    labels: dict[str, str] = BY_ROUTE
    settings: Settings = EVERYTHING
    every: int = 1  # minutes between two evaluations
    interval: str = "1m"  # between two numbers of a series


def buckets(metric: str, labels: str, within: dict[str, int]) -> dict[str, str]:
    """So many observations a minute up to each bound."""
    return {
        f'{metric}_bucket{{{labels}, le="{bound}"}}': f"0+{number}x60"
        for bound, number in within.items()
    }


def certificate(expiry_s: int, lifetime_s: int) -> dict[str, str]:
    """The validity of a certificate, by a clock that begins at 0."""
    labels = f'{PROCESS}, setting="tls_certificate"'
    return gauge("headgate_tls_certificate_expiry_timestamp_seconds", labels, expiry_s) | gauge(
        "headgate_tls_certificate_start_timestamp_seconds", labels, expiry_s - lifetime_s
    )


def gauge(name: str, labels: str, value: float) -> dict[str, str]:
    return {f"{name}{{{labels}}}": f"{value:.12g}x60"}


def gauges(name: str, labels: str, fires: float, quiet: float) -> Pair:
    """Return a gauge at which an alert fires, and one at which it does not yet."""
    return gauge(name, labels, fires), gauge(name, labels, quiet)


REFUSED_LINKS = f'headgate_subscription_refusals_total{{{ROUTE}, limit="max_streams"}}'


def reads(*, fetched: int, of: int, fetches: str = "origin_fetches") -> dict[str, str]:
    """Return reads a minute, of which the cache fetches some; others are of a log."""
    return {
        f"headgate_{fetches}_total{{{ROUTE}}}": f"0+{fetched}x60",
        f'headgate_cache_results_total{{{ROUTE}, result="hit"}}': f"0+{of}x60",
        f'headgate_cache_results_total{{{PROCESS}, route="/log", result="miss"}}': "0+9999x60",
    }


def origin_times(*slow: int, of: int) -> dict[str, str]:
    """Return the times of so many requests each 15 s, of which these many took over 2 s."""
    name = "headgate_origin_request_duration_seconds"
    prompt = " ".join(map(str, accumulate((of - it for it in slow), initial=0)))
    return {
        f'{name}_bucket{{{ROUTE}, le="2.0"}}': prompt,
        f"{name}_count{{{ROUTE}}}": f"0+{of}x60",
    }


def oldest_request(waits_s: float) -> dict[str, str]:
    """Return the waits at the two servers of an origin."""
    name = "headgate_origin_oldest_request_seconds"
    return gauge(name, f'{ROUTE}, server="x:1"', waits_s) | gauge(name, f'{ROUTE}, server="y:1"', 0)


def readers_of_feeds(shared: int, readers: int) -> dict[str, str]:
    """Of ten feeds, and how many share one of ten fetches a minute."""
    return {
        f"headgate_collapsed_readers_sum{{{ROUTE}}}": f"0+{10 * shared}x60",
        f"headgate_collapsed_readers_count{{{ROUTE}}}": "0+10x60",
        **gauge("headgate_live_readers", f'{ROUTE}, mode="sse"', readers),
        **gauge("headgate_feeds", ROUTE, 10),
    }


def slow_readers(slow: int, readers: int = 100) -> dict[str, str]:
    return {
        **gauge("headgate_slow_readers", ROUTE, slow),
        **gauge("headgate_live_readers", f'{ROUTE}, mode="sse"', readers),
        **gauge("headgate_live_readers", f'{ROUTE}, mode="long_poll"', 900),
    }


def files(opened: int) -> dict[str, str]:
    """Of a thousand; another program has opened all of its own."""
    other = 'job="node", instance="b:1"'
    return {
        **gauge("process_open_fds", PROCESS, opened),
        **gauge("process_max_fds", PROCESS, 1000),
        **gauge("headgate_build_info", f'{PROCESS}, version="1", python="3"', 1),
        **gauge("process_open_fds", other, 1000),
        **gauge("process_max_fds", other, 1000),
    }


def aof(*, ok: int, enabled: int) -> dict[str, str]:
    return {
        **gauge("headgate_redis_aof_ok", ROUTE, ok),
        **gauge("headgate_redis_aof_enabled", ROUTE, enabled),
    }


def servers(first: int, second: int) -> dict[str, str]:
    return {
        **gauge("headgate_origin_up", f'{ROUTE}, server="x:1"', first),
        **gauge("headgate_origin_up", f'{ROUTE}, server="y:1"', second),
    }


def failing(second: int) -> dict[str, str]:
    return {
        **gauge("headgate_origin_failing", f'{ROUTE}, server="x:1"', 0),
        **gauge("headgate_origin_failing", f'{ROUTE}, server="y:1"', second),
    }


def origin_answers(failures: int, all_told: int = 1000) -> dict[str, str]:
    """So many a minute."""
    requests = "headgate_origin_requests_total"
    return {
        f'{requests}{{{ROUTE}, result="2xx"}}': f"0+{all_told - failures}x60",
        f'{requests}{{{ROUTE}, result="timeout"}}': f"0+{failures}x60",
    }


def answers(*spans: tuple[int, int], all_told: int = 10_000) -> dict[str, str]:
    """Return answers at a rate per minute, in spans of minutes, each with a number of 5xx."""
    labels = f'{ROUTE}, operation="read"'
    failed = [number for minutes, number in spans for _ in range(minutes)]
    by_status = {"5xx": failed, "2xx": [all_told - number for number in failed]}
    return {
        f'headgate_requests_total{{{labels}, status="{status}"}}': " ".join(
            map(str, accumulate(numbers, initial=0))
        )
        for status, numbers in by_status.items()
    }


def appends(failures: int, all_told: int = 1000) -> dict[str, str]:
    """Return appends at a rate per minute."""
    name = "headgate_appends_total"
    return {
        f'{name}{{{ROUTE}, result="stored"}}': f"0+{all_told - failures}x60",
        f'{name}{{{ROUTE}, result="failed"}}': f"0+{failures}x60",
    }


def histories(**changes: str) -> dict[str, str]:
    """Return the counts of histories by whether something was lost; 0 for those left out."""
    name = "headgate_storage_histories_total"
    return {
        f'{name}{{{ROUTE}, lost="{lost}"}}': changes.get(lost, "0x60")
        for lost in ("no", "unknown", "yes")
    }


def free(begin: int, less: int) -> dict[str, str]:
    """Return free space from so many MiB on that shrinks by so many each minute."""
    return {f"headgate_storage_free_bytes{{{ROUTE}}}": f"{begin * MIB}-{less * MIB}x240"}


def replicas(first: int, second: int) -> dict[str, str]:
    name = "headgate_redis_connected_replicas"
    return {
        **gauge(name, f'{PROCESS}, route="/redis"', first),
        **gauge(name, f'{PROCESS}, route="/redis/one"', second),
        **gauge(name, f'{PROCESS}, route="/files"', 0),
    }


DELIVERY = "headgate_delivery_seconds"
LAG = "headgate_event_loop_lag_seconds"
APPENDS = "headgate_append_duration_seconds"
BUILD = f'headgate_build_info{{{PROCESS}, version="1", python="3"}}'
MIB, GIB = 1 << 20, 1 << 30
LE_2 = f'{{{ROUTE}, le="2.0"}}'
KEEPS_WAITING = (
    "The origin of /r keeps a:1 waiting: over 5 s for a response, or over 2 s for more than a"
    " fifth of them."
)

CASES = [
    Case(
        "HeadgateDown",
        {f"up{{{PROCESS}}}": "1x4 0x60", BUILD: "1x4 stale"},
        {'up{job="node", instance="b:1"}': "0x60"},
        6,
        "a:1 cannot be scraped.",
        labels=BY_PROCESS,
    ),
    Case(
        "HeadgateFewHits",
        reads(fetched=310, of=1000),
        reads(fetched=300, of=1000),
        6,  # there are three reads a second from the first minute on
        "31% of the reads of /r were fetched from the origin.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateFewHits",
        reads(fetched=190, of=190),
        reads(fetched=180, of=180),
        10,
        "100% of the reads of /r were fetched from the origin.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateRedisFewHits",
        reads(fetched=310, of=1000, fetches="redis_refetches"),
        reads(fetched=300, of=1000, fetches="redis_refetches"),
        6,
        "31% of the reads of /r were fetched from Redis although they had been fetched before.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateRedisFewHits",
        reads(fetched=190, of=190, fetches="redis_refetches"),
        reads(fetched=180, of=180, fetches="redis_refetches"),
        10,
        "100% of the reads of /r were fetched from Redis although they had been fetched before.",
        labels=BY_ROUTE_OF_ALL,
    ),
    # Of 400 a minute, and of 3.
    Case(
        "HeadgateOriginSlow",
        origin_times(*[0] * 4, *[21] * 56, of=100),
        origin_times(*[20] * 60, of=100),
        2,
        KEEPS_WAITING,
        interval="15s",
    ),
    Case(
        "HeadgateOriginSlow",
        origin_times(*[0] * 4, *[1] * 56, of=1),
        origin_times(*[0, 0, 1, 1] * 15, of=1),
        2,
        KEEPS_WAITING,
        interval="15s",
    ),
    # 10,000 prompt answers in the minute before, and Prometheus scrapes each five seconds.
    Case(
        "HeadgateOriginSlow",
        {
            "headgate_origin_request_duration_seconds_bucket" + LE_2: "0+1000x20 20000x3",
            f"headgate_origin_request_duration_seconds_count{{{ROUTE}}}": "0+1000x20 20001+1x3",
        },
        {
            "headgate_origin_request_duration_seconds_bucket" + LE_2: "0+1000x60",
            f"headgate_origin_request_duration_seconds_count{{{ROUTE}}}": "0+1001x60",
        },
        2,
        KEEPS_WAITING,
        interval="5s",
    ),
    Case("HeadgateOriginSlow", oldest_request(5.1), oldest_request(5), 0, KEEPS_WAITING),
    Case(
        "HeadgateReadersApart",
        readers_of_feeds(shared=1, readers=101),
        readers_of_feeds(shared=1, readers=100),
        11,
        "Only 1 readers of /r shared a fetch.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateReadersApart",
        readers_of_feeds(shared=1, readers=1000),
        readers_of_feeds(shared=2, readers=1000),
        11,
        "Only 1 readers of /r shared a fetch.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateSlowDelivery",
        buckets(DELIVERY, ROUTE, {"1": 98, "2.5": 100, "+Inf": 100}),
        buckets(DELIVERY, ROUTE, {"1": 99, "2.5": 100, "+Inf": 100}),
        11,
        "a:1 delivered new data of /r after 1.75s (p99).",
    ),
    Case(
        "HeadgateSlowReaders",
        slow_readers(11),
        slow_readers(10),
        10,
        "11% of the SSE readers of /r do not keep up.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateSlowReaders",
        slow_readers(3, readers=20),
        slow_readers(3, readers=19),
        10,
        "15% of the SSE readers of /r do not keep up.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateEventLoopStalls",
        buckets(LAG, PROCESS, {"0.25": 98, "0.5": 100, "+Inf": 100}),
        buckets(LAG, PROCESS, {"0.25": 99, "0.5": 100, "+Inf": 100}),
        6,
        "The event loop of a:1 stalled for 375ms (p99).",
        labels=BY_PROCESS,
    ),
    Case(
        "HeadgateFewFilesLeft",
        files(801),
        files(800),
        5,
        "a:1 uses 80.1% of its open-file limit.",
        labels=BY_PROCESS,
    ),
    Case(
        "HeadgateServerErrors",
        answers((60, 51), all_told=1000),
        answers((60, 50), all_told=1000),
        3,
        "5.1% of the requests to /r got 5xx.",
        labels=BY_ROUTE_OF_ALL,
    ),
    # After six good hours 2 % is 1.5 % of an hour in 45 minutes, and 1.4 % never 1.44 %.
    Case(
        "HeadgateErrorBudgetBurnsFast",
        answers((360, 0), (60, 200)),
        answers((360, 0), (60, 140)),
        405,
        "1.5% of the requests to /r got 5xx within the last hour, or the last six.",
        labels=BY_ROUTE_OF_ALL,
        every=15,
    ),
    # There have to be measurements of three quarters of each window.
    Case(
        "HeadgateErrorBudgetBurnsFast",
        answers((360, 61)),
        answers((360, 59)),
        270,
        "0.61% of the requests to /r got 5xx within the last hour, or the last six.",
        labels=BY_ROUTE_OF_ALL,
        every=15,
    ),
    # Of one request a minute, ten have to fail.
    Case(
        "HeadgateErrorBudgetBurnsFast",
        answers((60, 1), all_told=1),
        answers((36, 0), (9, 1), (60, 0), all_told=1),
        45,
        "100% of the requests to /r got 5xx within the last hour, or the last six.",
        labels=BY_ROUTE_OF_ALL,
        every=15,
    ),
    Case(
        "HeadgateErrorBudgetBurns",
        answers((18 * 60 + 90, 31)),
        answers((18 * 60 + 90, 29)),
        18 * 60,
        "0.31% of the requests to /r got 5xx within the last day, or the last three: more than the"
        " objective allows.",
        labels=BY_ROUTE_OF_ALL,
        every=15,
    ),
    Case(
        "HeadgateAppendsFail",
        appends(failures=11),
        appends(failures=10),
        3,
        "1.1% of the appends to /r failed on a:1.",
    ),
    Case(
        "HeadgateAccessFileRefused",
        *gauges("headgate_access_file_ok", f'{PROCESS}, setting="tokens_file"', 0, 1),
        1,
        "a:1 cannot use the present file of tokens_file.",
        labels={**BY_PROCESS, "setting": "tokens_file"},
    ),
    Case(
        "HeadgateCertificateFilesRefused",
        *gauges("headgate_tls_files_ok", f'{PROCESS}, setting="tls_certificate"', 0, 1),
        1,
        "a:1 cannot use the present files of tls_certificate, or they are for other hosts.",
        labels={**BY_PROCESS, "setting": "tls_certificate"},
    ),
    Case(
        "HeadgateCertificateExpired",
        certificate(20 * 60 - 1, 90 * DAY_S),
        certificate(3600, 90 * DAY_S),
        20,
        "The certificate of tls_certificate on a:1 expired 1s ago.",
        labels={**BY_PROCESS, "setting": "tls_certificate"},
    ),
    Case(
        "HeadgateCertificateNotValidYet",
        certificate(91 * DAY_S, 90 * DAY_S),
        certificate(90 * DAY_S, 90 * DAY_S),
        0,
        "The certificate of tls_certificate on a:1 is valid only in 1d 0h 0m 0s.",
        labels={**BY_PROCESS, "setting": "tls_certificate"},
    ),
    Case(
        "HeadgateCertificateExpiresSoon",
        certificate(expiry_s=14 * DAY_S - 60, lifetime_s=90 * DAY_S),
        certificate(expiry_s=14 * DAY_S + 59 * 60, lifetime_s=90 * DAY_S),
        10,
        "The certificate of tls_certificate on a:1 expires in 13d 23h 49m 0s.",
        labels={**BY_PROCESS, "setting": "tls_certificate"},
    ),
    Case(
        "HeadgateCertificateExpires",
        certificate(expiry_s=7 * 3600, lifetime_s=6 * DAY_S),
        certificate(expiry_s=9 * 3600, lifetime_s=6 * DAY_S),
        10,
        "The certificate of tls_certificate on a:1 expires in 6h 50m 0s.",
        labels={**BY_PROCESS, "setting": "tls_certificate"},
    ),
    Case(
        "HeadgateSettingsRefused",
        *gauges("headgate_config_last_reload_successful", PROCESS, 0, 1),
        1,
        "a:1 cannot use its settings as they are written now.",
        labels=BY_PROCESS,
    ),
    Case(
        "HeadgateClockSet",
        {f"headgate_clock_sets_total{{{PROCESS}}}": "0x4 1x60"},
        {f"headgate_clock_sets_total{{{PROCESS}}}": "1x60"},
        5,
        "The clock of a:1 was set.",
        labels=BY_PROCESS,
    ),
    Case(
        "HeadgateRequestsRefused",
        {f'headgate_refusals_total{{{PROCESS}, limit="max_feeds"}}': "0+4x60"},
        {f'headgate_refusals_total{{{PROCESS}, limit="max_feeds"}}': "0+3x60"},
        6,
        "a:1 refused requests beyond the limit max_feeds.",
        labels={**BY_PROCESS, "limit": "max_feeds"},
    ),
    Case(
        "HeadgateStreamGrows",
        *gauges("headgate_fastest_stream_bytes", PROCESS, 257 << 10, 256 << 10),
        2,
        "A stream of a:1 grew by 257kiB a second.",
        labels=BY_PROCESS,
    ),
    Case(
        "HeadgatePurgesFail",
        {f'headgate_purges_total{{{PROCESS}, cache="fastly", result="failed"}}': "0+1x60"},
        {f'headgate_purges_total{{{PROCESS}, cache="fastly", result="done"}}': "0+9x60"},
        11,
        "a:1 could not purge fastly.",
        labels={**BY_PROCESS, "cache": "fastly"},
    ),
    Case(
        "HeadgateSubscriptionStuck",
        gauge("headgate_subscriptions", f'{ROUTE}, state="stuck"', 2),
        gauge("headgate_subscriptions", f'{ROUTE}, state="failed"', 2),
        5,
        "Subscriptions of /r that have failed for over a day: 2.",
        labels={**BY_PROCESS, "route": "/r", "state": "stuck"},
    ),
    Case(
        "HeadgateSubscriptionLags",
        *gauges("headgate_subscription_oldest_seconds", ROUTE, 3660, 3540),
        10,
        "Events of /r have waited for 1h 1m 0s for their acknowledgement.",
    ),
    Case(
        "HeadgateWakesFail",
        gauge("headgate_subscriptions", f'{ROUTE}, state="failed"', 1),
        gauge("headgate_subscriptions", f'{ROUTE}, state="active"', 3),
        3,
        "Subscriptions of /r on a:1 whose workers cannot be woken: 1.",
        labels={**BY_ROUTE, "state": "failed"},
    ),
    Case(
        "HeadgateSubscriptionPaused",
        {f'headgate_subscriptions{{{ROUTE}, state="paused"}}': "1x150"},
        {f'headgate_subscriptions{{{ROUTE}, state="active"}}': "1x150"},
        120,
        "Subscriptions of /r that have been paused for two hours: 1.",
        labels={**BY_PROCESS, "route": "/r", "state": "paused"},
    ),
    Case(
        "HeadgateSubscriptionFull",
        {REFUSED_LINKS: "0x4 1x60"},
        {REFUSED_LINKS: "7x60"},
        5,
        "Subscriptions of /r on a:1 lacked streams.",
    ),
    Case(
        "HeadgateWorkersSilent",
        *gauges("headgate_workers_silent", PROCESS, 1, 0),
        2,
        "Workers of a:1 that do not answer: 1.",
        labels=BY_PROCESS,
        settings=WORKERS,
    ),
    Case(
        "HeadgateWorkersRestart",
        {f"headgate_worker_restarts_total{{{PROCESS}}}": "0x5 3x60"},
        {f"headgate_worker_restarts_total{{{PROCESS}}}": "0x5 1x60"},
        6,
        "Workers of a:1 were replaced more than twice in a quarter of an hour.",
        labels=BY_PROCESS,
        settings=WORKERS,
    ),
    Case(
        "HeadgateLogDown",
        *gauges("headgate_storage_up", ROUTE, 0, 1),
        1,
        "The log of /r takes no appends on a:1.",
    ),
    Case(
        "HeadgateSlowAppends",
        buckets(APPENDS, ROUTE, {"0.5": 98, "1": 100, "+Inf": 100}),
        buckets(APPENDS, ROUTE, {"0.5": 99, "1": 100, "+Inf": 100}),
        11,
        "Appends to /r took 750ms (p99) on a:1.",
    ),
    Case(
        "HeadgateDiskNearlyFull",
        *gauges("headgate_storage_free_bytes", ROUTE, 63 * MIB, 65 * MIB),
        0,
        "a:1 has 63MiB left for /r.",
    ),
    Case(
        "HeadgateDiskNearlyFull",
        free(900, 8),
        free(900, 1),
        15,
        "a:1 has 780MiB left for /r.",
    ),
    Case(
        "HeadgateQuotaNearlyFull",
        gauge("headgate_storage_used_bytes", ROUTE, 91 * MIB)
        | gauge("headgate_storage_max_bytes", ROUTE, 100 * MIB),
        gauge("headgate_storage_used_bytes", ROUTE, 90 * MIB)
        | gauge("headgate_storage_max_bytes", ROUTE, 100 * MIB),
        1,
        "/r on a:1 uses 91% of max_storage_size.",
    ),
    # As fast as it would be full in 23 hours; it is known three hours after the first scrape.
    Case(
        "HeadgateDiskFills",
        free(69 * 1024, 51),
        free(69 * 1024, 40),
        195,
        "At this pace the disk of /r on a:1 is full within a day.",
        every=15,
    ),
    # In three hours and a half; it is known half an hour after the first scrape.
    Case(
        "HeadgateDiskFills",
        free(69 * 1024, 336),
        {f"headgate_storage_free_bytes{{{ROUTE}}}": f"{69 * GIB}-{6 * GIB}x3 {50 * GIB}x60"},
        45,
        "At this pace the disk of /r on a:1 is full within a day.",
        every=15,
    ),
    Case(
        "HeadgateHistoryLost",
        histories(yes="0x5 1x60"),
        histories(yes="1x60", no="0x5 1x60", unknown="0x5 1x60"),
        6,
        "The Redis of /r has lost acknowledged writes.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateHistoryChanged",
        histories(unknown="0x5 1x60"),
        histories(no="0x5 1x60", unknown="0x5 3x60"),
        6,
        "The Redis of /r has restarted or failed over, and no gateway can tell whether"
        " writes are lost.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateRedisAofFails",
        aof(ok=0, enabled=1),
        aof(ok=0, enabled=0),
        1,
        "The Redis of /r cannot write its append-only file.",
    ),
    Case(
        "HeadgateRedisReplicaLags",
        *gauges("headgate_redis_replica_lag_bytes", ROUTE, 17 * MIB, 16 * MIB),
        5,
        "A replica of the Redis of /r is 17MiB behind.",
    ),
    Case(
        "HeadgateRedisReplicasMissing",
        replicas(2, 0),
        replicas(2, 1),
        1,
        "The Redis of /redis/one has 0 replicas, and appends wait for more.",
        labels={**BY_PROCESS, "route": "/redis/one"},
    ),
    Case(
        "HeadgateRedisReplicasMissing",
        replicas(1, 1),
        replicas(3, 1),
        1,
        "The Redis of /redis has 1 replicas, and appends wait for more.",
        labels={**BY_PROCESS, "route": "/redis"},
    ),
    Case(
        "HeadgateOriginServerDown",
        servers(1, 0),
        servers(1, 1),
        5,
        "a:1 cannot reach y:1, an origin of /r.",
        labels={**BY_ROUTE, "server": "y:1"},
    ),
    Case(
        "HeadgateOriginDown",
        servers(0, 0),
        servers(1, 0),
        1,
        "a:1 cannot reach any server of the origin of /r.",
    ),
    Case(
        "HeadgateOriginFailing",
        failing(1),
        failing(0),
        1,
        "y:1, an origin of /r, answers a:1 nothing but 5xx, or nothing at all.",
        labels={**BY_ROUTE, "server": "y:1"},
    ),
    Case(
        "HeadgateOriginErrors",
        origin_answers(failures=51),
        origin_answers(failures=50),
        6,
        "5.1% of the requests to the origin of /r failed.",
        labels=BY_ROUTE_OF_ALL,
    ),
    Case(
        "HeadgateOriginErrors",
        origin_answers(failures=1, all_told=8),
        origin_answers(failures=1, all_told=6),
        9,  # there is one request in ten seconds from the fourth minute on
        "12.5% of the requests to the origin of /r failed.",
        labels=BY_ROUTE_OF_ALL,
    ),
]


def plays_of(case: Case) -> list[dict[str, Any]]:
    """As `promtool test rules` wants it."""
    (alert,) = (one for one in alerts(case.settings) if one.name == case.name)
    firing = {
        "exp_labels": {"severity": alert.severity, **case.labels},
        "exp_annotations": {
            "summary": case.summary,
            "description": alert.description,
            "runbook_url": f"{CONSOLE}#{case.name.lower()}",
        },
    }

    def at(minute: int, expected: list[object]) -> dict[str, object]:
        return {"eval_time": f"{minute}m", "alertname": case.name, "exp_alerts": expected}

    before = [at(case.minute - case.every, [])] if case.minute else []
    return [
        {
            "name": f"{case.name} fires",
            "interval": case.interval,
            "input_series": [{"series": a, "values": b} for a, b in case.series.items()],
            "alert_rule_test": [*before, at(case.minute, [firing])],
        },
        {
            "name": f"{case.name} is quiet",
            "interval": case.interval,
            "input_series": [{"series": a, "values": b} for a, b in case.quiet.items()],
            "alert_rule_test": [at(case.minute + 5 * case.every, [])],
        },
    ]


def test_every_declared_alert_has_a_test_case() -> None:
    declared = {one.name for settings in (EVERYTHING, WORKERS) for one in alerts(settings)}
    assert {case.name for case in CASES} == declared


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("settings", [EVERYTHING, WORKERS], ids=["everything", "workers"])
def test_each_alert_fires_exactly_under_its_conditions(settings: Settings, tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(rules_file(settings))
    promtool("check", "rules", rules)
    cases = [case for case in CASES if case.settings is settings]
    for every in {case.every for case in cases}:
        played = [test for case in cases if case.every == every for test in plays_of(case)]
        play(settings, played, f"{every}m", tmp_path)


def links(made: str) -> list[str]:
    return re.findall(r'runbook_url: "(.*)"', made)


def test_every_alert_has_a_runbook_and_every_runbook_an_alert() -> None:
    declared = {one.name for settings in (EVERYTHING, WORKERS) for one in alerts(settings)}
    sections = re.findall(r"^## (.*)$", document("alerts.md"), re.MULTILINE)
    assert sorted(sections) == sorted(declared)


@pytest.mark.parametrize(
    ("admin", "page"),
    [
        ("127.0.0.1:4439", "http://127.0.0.1:4439/alerts"),
        ("[::1]:80", "http://[::1]:80/alerts"),
        ("0.0.0.0:4439", "http://127.0.0.1:4439/alerts"),
        ("[::]:4439", "http://[::1]:4439/alerts"),
    ],
)
def test_alerts_link_to_the_runbook_page_of_the_console(admin: str, page: str) -> None:
    token = AdminToken.of({"name": "watch", "role": "viewer", "token": "t" * 32})
    made = rules_file(Settings(storage="memory:", admin={"listen": admin, "tokens": (token,)}))
    assert len(links(made)) == len(alerts(MEMORY))
    assert f"{page}#headgatedown" in links(made)


def made_with(*options: str) -> Result:
    return CliRunner().invoke(cli, ["monitor", "alerts", *options], prog_name="headgate")


@pytest.mark.usefixtures("processes")
def test_alerts_link_to_the_given_runbooks_url() -> None:
    own = "https://wiki.test/headgate?view=all"
    made = made_with("--runbooks", own).stdout
    assert f"{own}#headgatelogdown" in links(made)
    assert {link.partition("#")[0] for link in links(made)} == {own}


@pytest.mark.usefixtures("processes")
def test_the_error_budget_alerts_follow_the_given_objective() -> None:
    made = made_with("--objective", "99").stdout
    assert [made.count(f"ratio_rate1h > {bound} and") for bound in (0.144, 0.0144)] == [1, 0]
    assert "The objective is that 99 % get no 5xx" in made


@pytest.mark.usefixtures("processes")
def test_the_rules_of_several_configurations_in_one_prometheus_do_not_collide(
    tmp_path: Path,
) -> None:
    made = {
        name: rules_file(EVERYTHING, name=name, selector=f'job="{name}"') for name in ("a", "b")
    }
    for name, text in made.items():
        (tmp_path / f"{name}.yaml").write_text(text)
        promtool("check", "rules", tmp_path / f"{name}.yaml")
    groups = [group for text in made.values() for group in yaml.safe_load(text)["groups"]]
    assert [group["name"] for group in groups] == ["headgate-a", "headgate-b"]
    # Each series that an expression of a configuration reads is of its job alone.
    down = {f'up{{job="{job}", instance="x:1"}}': "1x4 0x9" for job in made}
    down |= {f'headgate_build_info{{job="{job}", instance="x:1"}}': "1x4" for job in made}
    errors = 'headgate_requests_total{job="a", route="/r", operation="read", status="5xx"}'
    test = {
        "interval": "1m",
        "input_series": [
            {"series": series, "values": numbers}
            for series, numbers in (down | {errors: "0+10x20"}).items()
        ],
        "promql_expr_test": [
            {
                "expr": f"count by (job) ({expr})",
                "eval_time": "9m",
                "exp_samples": [{"labels": f'{{job="{job}"}}', "value": 1} for job in jobs],
            }
            for expr, jobs in (
                ('ALERTS{alertname="HeadgateDown", alertstate="firing"}', ("a", "b")),
                ("job_route:headgate_server_errors:ratio_rate5m", ("a",)),
            )
        ],
    }
    plays = {
        "rule_files": [str(tmp_path / f"{name}.yaml") for name in made],
        "evaluation_interval": "1m",
        "tests": [test],
    }
    (tmp_path / "tests.yaml").write_text(json.dumps(plays))
    promtool("test", "rules", tmp_path / "tests.yaml")


@pytest.mark.usefixtures("processes")
def test_prometheus_accepts_the_documented_scrape_configuration(tmp_path: Path) -> None:
    text = section(document("operating.md"), "Scrape configuration").split("```yaml\n")[1]
    configuration = yaml.safe_load(text.partition("```")[0])
    (scraped,) = configuration["scrape_configs"]
    for files, key in (
        (scraped["authorization"], "credentials_file"),
        (scraped["tls_config"], "ca_file"),
    ):
        named = tmp_path / key
        named.write_text("")
        files[key] = str(named)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / "headgate.yaml").write_text(rules_file(EVERYTHING))
    path = tmp_path / "prometheus.yaml"
    path.write_text(json.dumps(configuration))
    promtool("check", "config", path)


def test_each_silence_of_a_planned_maintenance_is_of_an_alert() -> None:
    maintenance = section(document("operating.md"), "Planned maintenance")
    declared = {one.name for settings in (EVERYTHING, WORKERS) for one in alerts(settings)}
    assert set(re.findall(r"Headgate[A-Z]\w+", maintenance)) <= declared


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--name", "a b"),
        ("--selector", "job"),
        ("--selector", 'route="/r"'),
        ("--runbooks", "wiki.test/a"),
        ("--runbooks", "https://a#b"),
        ("--runbooks", "https://a/{{ x }}"),
        ("--runbooks", "ftp://a/b"),
        ("--objective", "100"),
        ("--objective", "94.9"),
        ("--objective", "all"),
    ],
)
def test_an_invalid_runbooks_url_or_objective_is_refused(option: str, value: str) -> None:
    done = made_with(option, value)
    assert (done.exit_code, option in done.stderr) == (2, True)


@pytest.mark.usefixtures("processes")
def test_the_disk_alert_does_not_fire_on_a_roomy_disk_after_the_first_scrape(
    tmp_path: Path,
) -> None:
    """A log is created on the disk, with a WAL of some MiB, and 69 GiB are left."""
    begin, created = 69 * GIB, 69 * GIB - 100 * MIB
    test = {
        "interval": "15s",
        "input_series": [
            {
                "series": f"headgate_storage_free_bytes{{{ROUTE}}}",
                "values": f"{begin}x1 {created}-{MIB}x400",
            }
        ],
        "promql_expr_test": [
            {
                "expr": 'count(ALERTS{alertname="HeadgateDiskFills"})',
                "eval_time": f"{minute}m",
                "exp_samples": [],
            }
            for minute in (1, 2, 5, 30, 60)
        ],
    }
    play(FILES, [test], "1m", tmp_path)


@pytest.mark.parametrize(
    ("settings", "parts"),
    [
        (MEMORY, LOGS),
        (FILES, LOGS | {"Disk"}),
        (REDIS, LOGS | {"History", "Redis"}),
        (ORIGIN, {"Origin"}),
        (WORKERS, {"Origin", "Workers"}),
        (EVERYTHING, OF_PARTS.keys() - {"Workers"}),
    ],
    ids=["memory", "files", "redis", "origin", "workers", "everything"],
)
def test_each_configuration_gets_only_alerts_for_its_parts(
    settings: Settings, parts: set[str]
) -> None:
    names = {one.name for one in alerts(settings)}
    assert {"HeadgateDown", "HeadgateServerErrors", "HeadgateRequestsRefused"} <= names
    assert {part for part in OF_PARTS if any(part in name for name in names)} == parts
    assert {OF_PARTS[part] for part in parts} <= names


def test_the_documented_table_of_alerts_matches_the_code() -> None:
    told = {
        cells[0].strip("`"): (cells[2], cells[3])
        for cells in rows(section(document("operating.md"), "Alerts"))
    }
    declared = {
        one.name: (one.lasting, one.severity)
        for settings in (EVERYTHING, WORKERS)
        for one in alerts(settings)
    }
    assert told == declared
