"""Appends and reads through all that the compose file starts, and an alert when Redis goes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from tests.docker.machine import Machine, gateway_of, nginx_of, prometheus_of, redis_of
from tests.support.http1 import Answer, ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


class Running(NamedTuple):
    """The machine, and what ends its Redis."""

    machine: Machine
    redis: contextlib.ExitStack

    @contextlib.contextmanager
    def without_redis(self) -> Iterator[None]:
        """Redis is gone in the block, and back after it."""
        self.redis.close()
        yield
        self.redis.enter_context(redis_of(self.machine))

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        """A request to nginx."""
        return ask(self.machine.ports["edge"], method, path, body, **headers)

    def prometheus(self, question: str) -> Any:
        """What Prometheus' API answers."""
        answer = ask(self.machine.ports["watch"], "GET", f"/api/v1/{question}")
        assert answer.status == 200, answer
        return answer.json()["data"]


@pytest.fixture(scope="module")
def running(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    machine = Machine(tmp_path_factory.mktemp("root"))
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(contextlib.ExitStack())
        redis.enter_context(redis_of(machine))
        stack.enter_context(gateway_of(machine))
        stack.enter_context(nginx_of(machine))
        stack.enter_context(prometheus_of(machine))
        yield Running(machine, redis)


def test_a_chunk_read_twice_through_compose_nginx_is_cached(
    running: Running,
) -> None:
    made = running.ask("PUT", "/v1/stream/s", Content_Type="text/plain", Host="streams.test:81")
    assert made.status == 201
    assert made.get("Location") == "http://streams.test:81/v1/stream/s"
    last = {"Content_Type": "text/plain", "Stream_Closed": "true"}
    assert running.ask("POST", "/v1/stream/s", b"one", **last).status == 204
    path = f"/v1/stream/s?offset={made.next_offset}"
    reads = [running.ask("GET", path) for _ in range(2)]
    assert [(read.status, read.body) for read in reads] == [(200, b"one")] * 2
    assert [read.get("X-Cache-Status") for read in reads] == ["MISS", "HIT"]


def test_compose_redis_runs_with_512_mib_and_without_eviction(running: Running) -> None:
    with redis.Redis(port=running.machine.ports["redis"]) as client:
        told = client.config_get("maxmemory*")
    assert int(told["maxmemory"]) == 512 << 20
    assert told["maxmemory-policy"] == "noeviction"


def test_compose_prometheus_scrapes_the_gateway_and_loads_the_rules(running: Running) -> None:
    def health() -> list[tuple[str, str]]:
        targets = running.prometheus("targets?state=active")["activeTargets"]
        return [(target["labels"]["job"], target["health"]) for target in targets]

    wait_until(lambda: health() == [("headgate", "up")], told=lambda: str(health()))
    (group,) = running.prometheus("rules")["groups"]
    wait_until(
        lambda: (
            {rule["health"] for rule in running.prometheus("rules")["groups"][0]["rules"]} == {"ok"}
        ),
    )
    assert group["name"] == "headgate"


def firing(running: Running) -> set[tuple[str, str]]:
    """The alerts that fire, and the routes that they are of."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("route", ""))
        for alert in running.prometheus("alerts")["alerts"]
        if alert["state"] == "firing"
    }


@pytest.mark.usefixtures("processes")
def test_the_log_down_alert_fires_while_compose_redis_is_away_and_resolves_after(
    running: Running,
) -> None:
    alert = ("HeadgateLogDown", "/v1/stream")

    def told() -> str:
        return str(firing(running))

    with running.without_redis():
        wait_until(lambda: alert in firing(running), told=told)
    wait_until(lambda: alert not in firing(running), told=told)
    # The alert may be over before Redis is, since it is fired by what was scraped.
    after = ("PUT", "/v1/stream/after")
    wait_until(lambda: running.ask(*after, Content_Type="text/plain").status == 201, told=told)
