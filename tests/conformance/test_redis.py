"""The official suite on Redis: one gateway, two that share every client, and a cluster."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.conformance.round_robin import RoundRobin
from tests.conformance.test_conformance import (
    PASSED,
    PASSED_OF_PART,
    SUBSCRIPTION_TESTS,
    SUITE_TIMEOUT_S,
    WAITS,
    describe,
    run_part,
    run_suite,
)
from tests.support.examples import cases
from tests.support.processes import headgate
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path
    from typing import Any


@contextlib.contextmanager
def one_gateway(folder: Path) -> Iterator[str]:
    with redis_server(folder) as server, headgate(server.url, environment=WAITS) as gateway:
        yield gateway.url


@contextlib.contextmanager
def two_gateways(folder: Path) -> Iterator[str]:
    """Each request goes to the other gateway than the one before it."""
    with redis_server(folder) as server, RoundRobin([]) as proxy:
        reached = {
            "HEADGATE_HTTP__PUBLIC_URL": proxy.url,
        }
        with (
            headgate(server.url, environment={**WAITS, **reached}) as one,
            headgate(server.url, environment={**WAITS, **reached}) as other,
        ):
            proxy.served |= dict.fromkeys((one.port, other.port), 0)
            yield proxy.url
        served = proxy.served
    assert min(served.values()) > 0.4 * sum(served.values()) > PASSED_OF_PART * 0.4


@contextlib.contextmanager
def three_node_cluster(folder: Path) -> Iterator[str]:
    with ClusterServers(folder) as cluster, headgate(cluster.url, environment=WAITS) as gateway:
        yield gateway.url


@pytest.mark.torture("two gateways that share it")
@pytest.mark.timeout(SUITE_TIMEOUT_S + 60)
def test_the_official_conformance_suite_passes_on_redis(tmp_path: Path) -> None:
    with one_gateway(tmp_path) as url:
        results = run_suite(url, tmp_path / "report.json", subscriptions=True)
    assert len(results) == PASSED + SUBSCRIPTION_TESTS
    _assert_pass(results, len(results))


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(SUITE_TIMEOUT_S + 60)
@pytest.mark.parametrize(
    "started", cases([two_gateways, three_node_cluster], {two_gateways}, "one server of Redis")
)
def test_the_conformance_tests_that_depend_on_the_gateway_pass_on_several(
    started: Callable[[Path], AbstractContextManager[str]], tmp_path: Path
) -> None:
    with started(tmp_path) as url:
        results, to_pass = run_part(url, tmp_path / "report.json", subscriptions=True)
    _assert_pass(results, to_pass)


def _assert_pass(results: list[dict[str, Any]], number: int) -> None:
    failed = [describe(result) for result in results if result["status"] == "failed"]
    assert not failed, f"{len(failed)} failed:\n" + "\n".join(failed)
    assert sum(result["status"] == "passed" for result in results) == number
