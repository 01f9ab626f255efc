"""Appends and reads through all that the compose file starts, and an alert when Redis goes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import redis

from tests.docker.machine import SECRETS, Machine, gateway_of, nginx_of, prometheus_of, redis_of
from tests.support.http1 import Answer, Wire, ask
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.docker.image import Image

pytestmark = pytest.mark.timeout(300)  # the first test waits for the image

FIRES_WITHIN_S = 15.0


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
def running(image: Image, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    machine = Machine(tmp_path_factory.mktemp("root"))
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(contextlib.ExitStack())
        redis.enter_context(redis_of(machine))
        stack.enter_context(gateway_of(machine, image))
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


def test_a_tail_read_twice_through_compose_nginx_is_cached_or_revalidated(running: Running) -> None:
    """For a second, after which nginx asks whether it is still so: only what is kept can be old."""
    running.ask("PUT", "/v1/stream/tail", b"one", Content_Type="text/plain")
    reads = [running.ask("GET", "/v1/stream/tail?offset=-1") for _ in range(2)]
    assert [(read.status, read.body) for read in reads] == [(200, b"one")] * 2
    assert [read.get("Cache-Control") for read in reads] == ["no-cache, s-maxage=1"] * 2
    assert [read.get("X-Accel-Expires") for read in reads] == [None, None]
    assert reads[0].get("X-Cache-Status") == "MISS"
    assert reads[1].get("X-Cache-Status") in {"HIT", "REVALIDATED"}


def test_long_polls_through_compose_nginx_are_collapsed_into_one(running: Running) -> None:
    offset = running.ask("PUT", "/v1/stream/p", b"0", Content_Type="text/plain").next_offset
    path = f"/v1/stream/p?offset={offset}&live=long-poll"
    with contextlib.ExitStack() as stack:
        waiting = [stack.enter_context(Wire(running.machine.ports["edge"])) for _ in range(5)]
        for wire in waiting:
            wire.send(f"GET {path} HTTP/1.1\r\nHost: streams.test\r\n\r\n".encode())
        wait_until(lambda: live_readers(running) >= 1, within_s=15)
        assert running.ask("POST", "/v1/stream/p", b"1", Content_Type="text/plain").status == 204
        answers = [wire.answer() for wire in waiting]
    assert [answer.body for answer in answers] == [b"1"] * 5
    assert sorted(answer.get("X-Cache-Status") or "" for answer in answers) == ["HIT"] * 4 + [
        "MISS"
    ]


def test_compose_redis_runs_with_512_mib_and_without_eviction(running: Running) -> None:
    with redis.Redis(port=running.machine.ports["redis"]) as client:
        told = client.config_get("maxmemory*")
    assert int(told["maxmemory"]) == 512 << 20
    assert told["maxmemory-policy"] == "noeviction"


def live_readers(running: Running) -> float:
    """How many wait at the gateway, as it tells itself."""
    token = f"Bearer {SECRETS['METRICS_TOKEN']}"
    told = ask(running.machine.ports["admin"], "GET", "/metrics", Authorization=token)
    lines = told.body.decode().splitlines()
    return sum(
        float(line.split()[-1]) for line in lines if line.startswith("headgate_live_readers")
    )


@pytest.mark.parametrize(
    ("method", "query", "header"),
    [
        ("HEAD", "", {}),
        ("GET", "?offset=now", {}),
        ("GET", "?offset=-1", {"Authorization": "Bearer me"}),
        ("GET", "?offset=-1", {"Cookie": "me=1"}),
    ],
)
def test_reads_that_may_not_be_shared_bypass_the_compose_nginx_cache(
    method: str, query: str, header: dict[str, str], running: Running
) -> None:
    running.ask("PUT", "/v1/stream/own", b"0", Content_Type="text/plain")
    answers = [running.ask(method, f"/v1/stream/own{query}", None, **header) for _ in range(2)]
    assert [answer.status for answer in answers] == [200, 200]
    assert [answer.get("X-Cache-Status") for answer in answers] == ["BYPASS", "BYPASS"]


def test_sse_arrives_at_once_through_compose_nginx(running: Running) -> None:
    running.ask("PUT", "/v1/stream/e", b"news", Content_Type="text/plain")
    with Wire(running.machine.ports["edge"], timeout_s=5) as wire:
        wire.send(b"GET /v1/stream/e?offset=-1&live=sse HTTP/1.1\r\nHost: streams.test\r\n\r\n")
        assert wire.head().get("Content-Type") == "text/event-stream"
        assert b"data:news" in wire.chunk()


def test_a_404_is_not_cached_by_compose_nginx(running: Running) -> None:
    path = "/v1/stream/late?offset=-1"
    assert running.ask("GET", path).status == 404
    running.ask("PUT", "/v1/stream/late", b"here", Content_Type="text/plain")
    assert running.ask("GET", path).body == b"here"


def test_compose_prometheus_scrapes_the_gateway_and_loads_the_rules(running: Running) -> None:
    def health() -> list[tuple[str, str]]:
        targets = running.prometheus("targets?state=active")["activeTargets"]
        return [(target["labels"]["job"], target["health"]) for target in targets]

    wait_until(lambda: health() == [("headgate", "up")], told=lambda: str(health()), within_s=15)
    (group,) = running.prometheus("rules")["groups"]
    wait_until(
        lambda: (
            {rule["health"] for rule in running.prometheus("rules")["groups"][0]["rules"]} == {"ok"}
        ),
        within_s=15,
    )
    assert group["name"] == "headgate"


def firing(running: Running) -> set[tuple[str, str]]:
    """The alerts that fire, and the routes that they are of."""
    return {
        (alert["labels"]["alertname"], alert["labels"].get("route", ""))
        for alert in running.prometheus("alerts")["alerts"]
        if alert["state"] == "firing"
    }


def test_the_log_down_alert_fires_while_compose_redis_is_away_and_resolves_after(
    running: Running,
) -> None:
    alert = ("HeadgateLogDown", "/v1/stream")

    def told() -> str:
        return str(firing(running))

    with running.without_redis():
        wait_until(lambda: alert in firing(running), told=told, within_s=FIRES_WITHIN_S)
    wait_until(lambda: alert not in firing(running), told=told, within_s=FIRES_WITHIN_S)
    # The alert may be over before Redis is, since it is fired by what was scraped.
    after = ("PUT", "/v1/stream/after")
    wait_until(lambda: running.ask(*after, Content_Type="text/plain").status == 201, told=told)
