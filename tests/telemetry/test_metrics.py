from __future__ import annotations

import contextlib
import os
import re
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from headgate_gateway.features.models import counts as model_counts
from headgate_gateway.features.origin_auth import requests as origin_auth
from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.exposition import registry
from headgate_gateway.telemetry.metrics import (
    Metric,
    Sample,
    counter,
    counters,
    gauge,
    least,
    most,
    together,
)
from headgate_gateway.telemetry.traffic import OPERATIONS
from tests.support.certificates import Authority
from tests.support.given_settings import variables
from tests.support.guarded_gateway import token, tokens_file
from tests.support.http1 import ask
from tests.support.processes import Headgate, headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until
from tests.telemetry.declared import DECLARED

GRANTS = [{"streams": "/*", "operations": ["read"]}]
ISSUER = {"issuer": "i", "audience": "a", "jwks": "http://127.0.0.1:9/", "algorithms": ["EdDSA"]}
MODELS = [
    {
        "prefix": "/openai",
        "upstream": "http://127.0.0.1:9",
        "dialect": "openai",
        "streams": "/v1/stream/answers",
    }
]
READS = counter("reads_total", "Reads so far.", "route")
OPEN = gauge("open", "Open now.")
BEHIND = most("behind", "How far behind.")
UP = least("up", "1 while all is well.")
OF_SOME_ORIGINS = (  # of those with auth = origin, and with subscriptions
    *(origin_auth.QUESTIONS, origin_auth.PERMISSIONS),
)
OPERATING = (Path(__file__).parents[2] / "docs" / "operating.md").read_text()


def scraped(server: Headgate) -> dict[str, float]:
    """Each sample with its labels in its name."""
    text = ask(server.admin_port, "GET", "/metrics").body.decode()
    lines = [line.rpartition(" ") for line in text.splitlines() if line[:1] != "#"]
    return {name: float(number) for name, _, number in lines}


# ---------------------------------------------------------------- snapshots


def test_samples_with_equal_metric_and_labels_are_summed() -> None:
    one = (Sample(READS, ("/a",), 1), Sample(OPEN, (), 10))
    other = (Sample(READS, ("/b",), 2), Sample(OPEN, (), 20), Sample(READS, ("/a",), 4))
    assert together([one, other]) == (
        Sample(READS, ("/a",), 5),
        Sample(OPEN, (), 30),
        Sample(READS, ("/b",), 2),
    )


@pytest.mark.parametrize(
    ("metric", "told", "whole"),
    [(UP, (1, 0), 0), (UP, (0, 1), 0), (BEHIND, (1, 5), 5)],
    ids=["last", "first", "lag"],
)
def test_up_and_lag_metrics_of_several_processes_are_those_of_the_worst(
    metric: Metric, told: tuple[int, int], whole: int
) -> None:
    (sample,) = together((Sample(metric, (), number),) for number in told)
    assert sample.number == whole


def test_metrics_of_no_processes_combine_to_no_samples() -> None:
    assert together([]) == ()


def test_only_counters_are_kept_of_a_process_that_is_gone() -> None:
    kept = Sample(READS, ("/a",), 1)
    assert counters((kept, Sample(OPEN, (), 2), Sample(UP, (), 1))) == (kept,)


def test_process_metrics_report_the_memory_and_cpu_of_this_process() -> None:
    told = {sample.metric.name: sample.number for sample in metrics.of_this_process()}
    assert set(told) == {metric.name for metric in metrics.OF_PROCESSES}
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    assert told["process_resident_memory_bytes"] == pytest.approx(
        pages * os.sysconf("SC_PAGESIZE"), rel=0.1
    )
    with contextlib.ExitStack() as opened:
        for _ in range(100):
            opened.enter_context(open("/dev/null"))  # noqa: PTH123 - any file will do
        more = {it.metric.name: it.number for it in metrics.of_this_process()}
    assert more["process_open_fds"] - told["process_open_fds"] == pytest.approx(100, abs=5)
    assert told["process_cpu_seconds_total"] == pytest.approx(sum(os.times()[:2]), abs=0.5)


def test_quotes_and_backslashes_in_metric_labels_are_escaped() -> None:
    shown = generate_latest(registry((Sample(READS, ('/a"\\',), 1),))).decode()
    assert shown.splitlines()[-1] == 'reads_total{route="/a\\"\\\\"} 1.0'


# ---------------------------------------------------------------- what is declared


def test_metric_names_are_unique_and_follow_prometheus_conventions() -> None:
    names = [metric.name for metric in DECLARED]
    assert len(set(names)) == len(names)
    for metric in DECLARED:
        assert re.fullmatch(r"(headgate|process)(_[a-z]+)+", metric.name)
        assert metric.name.endswith("_total") == (metric.kind == "counter")
        assert metric.help.endswith(".")


def test_the_operating_page_lists_exactly_the_declared_metrics_with_their_kinds() -> None:
    section = OPERATING.split("## Metrics\n", 1)[1].split("\n## ", 1)[0]
    listed = re.findall(r"^\| `(\w+)`(?: by ([a-z, ]+))? \| (\w+) \|", section, re.MULTILINE)
    told = {(name, labels.replace(",", ""), kind) for name, labels, kind in listed}
    assert told == {(metric.name, " ".join(metric.labels), metric.kind) for metric in DECLARED}


# ---------------------------------------------------------------- a server's


@pytest.mark.usefixtures("processes")
def test_a_server_with_a_file_log_reports_its_cache_and_log_metrics(tmp_path: Path) -> None:
    with headgate(f"file:{tmp_path}") as server:
        ask(server.port, "PUT", "/v1/stream/s", b"one", content_type="text/plain")
        for _ in range(3):
            assert ask(server.port, "GET", "/v1/stream/s?offset=-1").body == b"one"
        numbers = scraped(server)
    route = '{route="/v1/stream"}'
    results = "headgate_cache_results_total"
    assert numbers[f'{results}{{result="miss",route="/v1/stream"}}'] == 1
    assert numbers[f'{results}{{result="hit",route="/v1/stream"}}'] == 2
    assert numbers[f"headgate_storage_up{route}"] == 1
    assert numbers[f"headgate_storage_commits_total{route}"] == 1
    assert numbers[f"headgate_appends_pending{route}"] == 0
    assert numbers["headgate_workers"] == 1
    assert numbers["headgate_worker_restarts_total"] == 0


@pytest.mark.usefixtures("processes")
def test_error_counters_are_exported_as_zero_before_the_first_error() -> None:
    """Otherwise the first error would be the first sample, and `increase` would not see it."""
    with headgate("http://127.0.0.1:9") as server:
        numbers = scraped(server)
    for route in ("/v1/stream", "none"):
        for operation in OPERATIONS:
            labels = f'operation="{operation}",route="{route}",status="5xx"'
            assert numbers[f"headgate_requests_total{{{labels}}}"] == 0
    failures = '{result="5xx",route="/v1/stream"}'
    assert numbers[f"headgate_origin_requests_total{failures}"] == 0


def names_told(server: Headgate) -> set[str]:
    return {name.partition("{")[0].removesuffix("_bucket") for name in scraped(server)}


@pytest.mark.usefixtures("processes")
def test_every_declared_metric_is_exported_by_a_server_with_that_feature(tmp_path: Path) -> None:
    names = set()
    with redis_server(tmp_path / "redis") as redis:
        before = {
            **variables({"purges": [{"kind": "varnish", "url": "http://127.0.0.1:9"}]}),
            "HEADGATE_AUTH": "tokens,jwt",
            **variables({"jwt_issuers": [{**ISSUER, "grants": GRANTS}]}),
            "HEADGATE_CREDENTIALS__TOKENS_FILE": str(tokens_file(tmp_path)),
            **Authority.of(tmp_path).issue().write(tmp_path).settings(),
        }
        models = variables({"models": MODELS})
        for origin, more in ((f"file:{tmp_path}/file", models), ("http://127.0.0.1:9", {})):
            with headgate(origin, environment={**before, **more}) as server:
                names |= names_told(server)
        guarded = {
            "HEADGATE_AUTH": "tokens",
            "HEADGATE_CREDENTIALS__TOKENS_FILE": before["HEADGATE_CREDENTIALS__TOKENS_FILE"],
        }
        with headgate(environment=guarded) as server:
            held = f"Bearer {token('ann')}"
            for view in ("raw", "text"):  # the first use loads what a view needs
                target = f"/v1/stream/a/s?offset=-1&view={view}"
                ask(server.port, "GET", target, Authorization=held)
            names |= names_told(server)
        with closing(Headgate()) as server:
            server.serve_routes(
                {"prefix": "/v1/stream", "storage": redis.url, "runs": True},
                {"prefix": "/small", "storage": "memory:", "max_storage_size": "1MiB"},
            )
            server.start()  # which asks Redis how it is just after its start
            wait_until(lambda: "headgate_redis_memory_bytes" in names_told(server), "an answer")
            names |= names_told(server)
    # A model has a line once an answer of it has tokens: tests/models/test_usage.py.
    of_answers = {model_counts.TOKENS.name}
    told = {metric.name for metric in DECLARED} - {metric.name for metric in OF_SOME_ORIGINS}
    told -= of_answers
    assert told - names == set()
