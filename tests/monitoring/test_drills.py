"""A real gateway in real trouble, and a real Prometheus whose alerts fire."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tests.monitoring.prometheus import Firing, Prometheus, prometheus
from tests.support.guarded_gateway import tokens_file
from tests.support.http1 import Wire, ask, request
from tests.support.ports import free_port
from tests.support.processes import HEADGATE, Headgate, run
from tests.support.redis_servers import redis_server
from tests.support.waiting import SERVER_PATIENCE_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

KEPT, LOST, IDLE, FULL = "/kept", "/lost", "/idle", "/full"  # each in a Redis of its own
BROKEN, GUARDED = "/broken", "/guarded"
BUSY, CHATS = "/busy", "/chats"  # two databases of one more Redis
# How long a rule must hold is played by promtool, in test_alerts.
AT_ONCE = (
    *("HeadgateServerErrors", "HeadgateAppendsFail", "HeadgateAccessFileRefused"),
    "HeadgateRedisFewHits",
)
# Five servers of Redis, a gateway and Prometheus start for the first of them.
pytestmark = pytest.mark.timeout(180)
ENOUGH = 12  # requests that fail, of which ten wake somebody
MANY = 1100  # reads, of which 900 in five minutes are three a second


class Drill(NamedTuple):
    """A gateway with a route for each kind of trouble, and the Prometheus that scrapes it."""

    gateway: Headgate
    watch: Prometheus
    redis: dict[str, RedisServer]
    tokens: Path

    def write(self, route: str, times: int = 1) -> list[int]:
        """Append to a stream of a route, and create the stream before if need be."""
        port, path = self.gateway.port, f"{route}/s"
        ask(port, "PUT", path, content_type="text/plain")
        return [
            ask(port, "POST", path, b"one", content_type="text/plain").status for _ in range(times)
        ]

    def change_history(self, route: str) -> None:
        """Restart the Redis of a route as planned, and wait until Prometheus has scraped that."""
        changed = f'sum(headgate_storage_histories_total{{route="{route}"}})'
        wait_until(lambda: self.watch.value(changed) == 0)
        self.redis[route].stop()
        self.redis[route].start()
        wait_until(
            lambda: self.watch.value(changed) == 1,
            told=self.gateway.output,
            within_s=SERVER_PATIENCE_S,
        )
        self.watch.evaluate_again()

    def lose_writes(self) -> None:
        """Have a restart of Redis lose a stream, once, and wait until the alert fires."""
        if "HeadgateHistoryLost" not in self.watch.fired(LOST):
            assert self.write(LOST) == [204]
            self.change_history(LOST)
        self.wait_for("HeadgateHistoryLost", "critical", LOST)

    def wait_for(self, name: str, severity: str, route: str) -> None:
        """Wait until an alert fires."""
        alert = Firing(name, severity, route)
        wait_until(
            lambda: alert in self.watch.firing(),
            name,
            lambda: f"{self.watch.firing()}\n{self.gateway.output()}",
        )


@pytest.fixture(scope="module")
def drill(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    folder = tmp_path_factory.mktemp("drill")
    with contextlib.ExitStack() as stack:
        durable = {"appendonly": "yes", "appendfsync": "always"}
        options = {KEPT: durable, LOST: {}, IDLE: durable, FULL: {}}
        redis = {
            route: stack.enter_context(redis_server(folder / route.strip("/"), **given))
            for route, given in options.items()
        }
        read = stack.enter_context(redis_server(folder / "read"))
        gateway = Headgate()
        stack.callback(gateway.close)
        gateway.serve_routes(
            *({"prefix": route, "storage": server.url} for route, server in redis.items()),
            {"prefix": BUSY, "storage": f"{read.url}/1"},
            {"prefix": CHATS, "storage": f"{read.url}/2"},
            {"prefix": BROKEN, "origin": f"http://127.0.0.1:{free_port()}"},
            {"prefix": GUARDED, "storage": "memory:", "auth": "tokens"},
        )
        tokens = tokens_file(folder)
        gateway.environment["HEADGATE_CREDENTIALS__TOKENS_FILE"] = str(tokens)
        gateway.environment["HEADGATE_LIMITS__CACHE_SIZE"] = "0"
        gateway.start()
        made = run([HEADGATE, "monitor", "alerts"], environment=gateway.environment)
        assert made.returncode == 0, made.stderr
        watch = stack.enter_context(
            prometheus(folder, made.stdout.decode(), gateway, at_once=AT_ONCE)
        )
        yield Drill(gateway, watch, redis, tokens)


def test_a_restart_of_redis_without_loss_fires_no_alert(drill: Drill) -> None:
    assert drill.write(KEPT) == [204]
    drill.change_history(KEPT)
    assert drill.watch.fired(KEPT) == set()


def test_a_restart_of_redis_that_loses_streams_fires_a_critical_alert(drill: Drill) -> None:
    drill.lose_writes()


def test_a_restart_of_redis_with_unknown_loss_fires_a_warning(drill: Drill) -> None:
    drill.change_history(IDLE)
    drill.wait_for("HeadgateHistoryChanged", "warning", IDLE)
    assert drill.watch.fired(IDLE) == {"HeadgateHistoryChanged"}


def test_appends_refused_by_a_full_redis_fire_a_warning(drill: Drill) -> None:
    assert drill.write(FULL) == [204]
    drill.redis[FULL].command("CONFIG", "SET", "maxmemory", "1")
    assert set(drill.write(FULL, 5)) == {503}
    drill.wait_for("HeadgateAppendsFail", "warning", FULL)


def test_responses_with_5xx_fire_the_server_error_alert_and_spend_no_budget_of_a_month(
    drill: Drill,
) -> None:
    port = drill.gateway.port
    statuses = {ask(port, "GET", f"{BROKEN}/s?offset=-1").status for _ in range(ENOUGH)}
    assert statuses == {502}
    drill.wait_for("HeadgateServerErrors", "warning", BROKEN)
    # Minutes of measurements say nothing on the budget of a month.
    assert drill.watch.fired(BROKEN) & {"HeadgateErrorBudgetBurnsFast"} == set()


def test_reads_of_a_busy_route_to_redis_without_a_cache_fire_a_warning(drill: Drill) -> None:
    assert drill.write(BUSY) == [204]
    port = drill.gateway.port
    assert {ask(port, "GET", f"{BUSY}/s?offset=-1").status for _ in range(MANY)} == {200}
    drill.wait_for("HeadgateRedisFewHits", "warning", BUSY)


def test_streams_in_redis_with_one_reader_each_fire_no_alert_even_without_a_cache(
    drill: Drill,
) -> None:
    port = drill.gateway.port
    for number in range(MANY // 2):
        path, text = f"{CHATS}/{number}", "text/plain"
        assert ask(port, "PUT", path, b"Hello", content_type=text).status == 201
        past = ask(port, "GET", f"{path}?offset=-1")
        with Wire(port) as wire:
            wire.send(request("GET", f"{path}?offset={past.next_offset}&live=sse"))
            assert (past.body, wire.head().status) == (b"Hello", 200)
    reads = f'sum(headgate_cache_results_total{{route="{CHATS}"}})'
    wait_until(lambda: (drill.watch.value(reads) or 0) >= MANY, told=drill.gateway.output)
    drill.watch.evaluate_again()
    assert drill.watch.fired(CHATS) == set()


def test_a_refused_tokens_file_fires_an_alert_until_repaired(drill: Drill) -> None:
    alert = ("HeadgateAccessFileRefused", "warning", "")
    text = drill.tokens.read_text()
    drill.tokens.write_text("[[tokens]\n")
    drill.wait_for(*alert)
    drill.tokens.write_text(text)
    wait_until(lambda: Firing(*alert) not in drill.watch.firing())


def test_the_alert_rules_are_healthy_in_a_running_prometheus(drill: Drill) -> None:
    drill.watch.evaluate_again()
    assert drill.watch.unhealthy_rules() == []
