"""A real server whose wall clock is set: no stream is ended for good."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.given_settings import at
from tests.support.http1 import ask
from tests.support.processes import Headgate
from tests.support.redis_servers import RedisServer
from tests.support.waiting import wait_until
from tests.support.wall_clock import DAY_S, WallClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(120)]

IN_DOUBT = "streams.expired_in_doubt"
LONG, SHORT = "7200", "1"  # seconds of a TTL: over two days later, and over during a test


@pytest.fixture
def clock(tmp_path: Path) -> WallClock:
    return WallClock(tmp_path)


@pytest.fixture
def server(clock: WallClock, tmp_path: Path) -> Iterator[Headgate]:
    """Return a server with the routes /file and /memory, not started, that never sheds load."""
    server = Headgate(environment={**clock.environment, "HEADGATE_LIMITS__MAX_LOOP_LAG": "0"})
    origins = {"/file": f"file:{tmp_path / 'data'}", "/memory": "memory:"}
    server.serve_routes(*[{"prefix": prefix, **at(origin)} for prefix, origin in origins.items()])
    try:
        yield server
    finally:
        server.close()


def create(server: Headgate, path: str, body: bytes = b"data", **headers: str) -> None:
    answer = ask(server.port, "PUT", path, body, content_type="text/plain", **headers)
    assert answer.status == 201, answer


def found(server: Headgate, *paths: str) -> list[bytes | int]:
    """Return the data of streams, or the status with which a read is refused."""
    answers = [ask(server.port, "GET", f"{path}?offset=-1") for path in paths]
    return [answer.body if answer.status == 200 else answer.status for answer in answers]


def wait_until_over(server: Headgate, path: str) -> None:
    """Wait until a stream is gone, asking by HEAD, which restarts no TTL."""
    wait_until(lambda: ask(server.port, "HEAD", path).status == 404, told=server.output)


@pytest.mark.parametrize("by_s", [2 * DAY_S, -DAY_S])
def test_a_clock_that_was_set_needs_attention_and_no_disk_fills(
    server: Headgate, clock: WallClock, by_s: int
) -> None:
    server.start()
    create(server, "/file/s")

    def attention() -> list[str]:
        overview = ask(server.admin_port, "GET", "/api/v1/overview").json()
        return [it["sentence"] for it in overview["attention"]]

    looks = "headgate_clock_sets_total"
    wait_until(lambda: f"{looks} 0" in ask(server.admin_port, "GET", "/metrics").body.decode())
    clock.set(by_s)
    way = "forward" if by_s > 0 else "back"
    wait_until(
        lambda: [way in it for it in attention()] == [True],
        "the clock alone needs attention",
        lambda: f"{attention()}",
        within_s=30,
    )
    create(server, "/file/t", b"data" * 100_000)
    wait_until(lambda: f"{looks} 1" in ask(server.admin_port, "GET", "/metrics").body.decode())


def lines(server: Headgate, event: str) -> list[str]:
    """Return the log lines of an event of routes, without blanks."""
    found = [line for line in server.output().splitlines() if event in line and '"route"' in line]
    return [line.replace(" ", "") for line in found]


def wait_for(server: Headgate, event: str, times: int) -> None:
    wait_until(lambda: len(lines(server, event)) == times, told=server.output)


def test_a_running_servers_clock_set_two_days_ahead_ends_no_stream_with_a_ttl(
    clock: WallClock, server: Headgate
) -> None:
    server.start()
    ends = clock.time_in(DAY_S)
    for prefix in ("/file", "/memory"):
        create(server, f"{prefix}/idle", stream_ttl=LONG)
        create(server, f"{prefix}/dated", stream_expires_at=ends)

    clock.set(2 * DAY_S)
    wait_for(server, IN_DOUBT, 2)
    assert all('"count":1,' in line for line in lines(server, IN_DOUBT)), server.output()
    for prefix in ("/file", "/memory"):
        assert found(server, f"{prefix}/idle", f"{prefix}/dated") == [b"data", 404]
        create(server, f"{prefix}/short", stream_ttl=SHORT)
        wait_until_over(server, f"{prefix}/short")

    clock.set(0)
    for prefix in ("/file", "/memory"):
        assert found(server, f"{prefix}/idle", f"{prefix}/dated") == [b"data", b"data"]
    wait_for(server, "log.clock_set", 4)  # each log has noticed it twice

    clock.set(2 * DAY_S)
    wait_for(server, "log.clock_set", 6)
    server.terminate()
    server.start()
    assert found(server, "/file/idle", "/file/dated") == [b"data", 404]


def test_streams_expired_by_a_wrong_clock_at_a_start_return_with_the_right_clock(
    clock: WallClock, server: Headgate
) -> None:
    server.start()
    create(server, "/file/a", stream_ttl=LONG)
    create(server, "/file/b", stream_expires_at=clock.time_in(DAY_S))
    create(server, "/file/c", stream_ttl=LONG)
    create(server, "/file/for-good")
    server.terminate()

    clock.set(2 * DAY_S)
    server.start()
    names = ("/file/a", "/file/b", "/file/c", "/file/for-good")
    assert found(server, *names) == [404, 404, 404, b"data"]
    wait_for(server, IN_DOUBT, 1)
    assert '"count":3,' in lines(server, IN_DOUBT)[0], server.output()
    create(server, "/file/c", b"another", stream_ttl=LONG)
    server.terminate()

    clock.set(0)
    server.start()
    assert found(server, *names) == [b"data", b"data", b"another", b"data"]


def test_streams_in_redis_expire_by_the_gateways_clock_whatever_the_clock_of_redis_is(
    clock: WallClock, tmp_path: Path
) -> None:
    (tmp_path / "redis").mkdir()
    of_redis = WallClock(tmp_path / "redis")
    redis = RedisServer(tmp_path / "redis", environment=of_redis.environment).start()
    server = Headgate(
        redis.url, environment={**clock.environment, "HEADGATE_LIMITS__MAX_LOOP_LAG": "0"}
    )
    try:
        server.start()
        streams = with_both_ends(server, clock)

        before = seconds_of(redis)
        of_redis.set(2 * DAY_S)
        wait_until(lambda: seconds_of(redis) > before + DAY_S)
        create(server, "/v1/stream/short", stream_ttl=SHORT)
        wait_until_over(server, "/v1/stream/short")
        assert found(server, *streams) == [b"data", b"data"]
        ask(server.port, "POST", streams[0], b" more", content_type="text/plain")
        of_redis.set(0)
        assert found(server, *streams) == [b"data more", b"data"]

        clock.set(2 * DAY_S)
        wait_for(server, IN_DOUBT, 1)
        assert found(server, *streams) == [404, 404]
        clock.set(0)
        assert found(server, *streams) == [b"data more", b"data"]
    finally:
        server.close()
        redis.stop()


def with_both_ends(server: Headgate, clock: WallClock) -> tuple[str, str]:
    """Create a stream that ends when it is idle, and one that ends in a day, and return both."""
    create(server, "/v1/stream/idle", stream_ttl=LONG)
    create(server, "/v1/stream/dated", stream_expires_at=clock.time_in(DAY_S))
    return "/v1/stream/idle", "/v1/stream/dated"


def seconds_of(redis: RedisServer) -> int:
    """Return the time by the clock of Redis."""
    return int(redis.command("TIME")[0])


def test_a_gateway_started_with_a_clock_two_days_ahead_deletes_no_stream_from_redis(
    clock: WallClock, tmp_path: Path
) -> None:
    redis = RedisServer(tmp_path / "redis").start()
    server = Headgate(
        redis.url, environment={**clock.environment, "HEADGATE_LIMITS__MAX_LOOP_LAG": "0"}
    )
    try:
        server.start()
        streams = with_both_ends(server, clock)
        server.terminate()

        clock.set(2 * DAY_S)
        server.start()
        wait_for_sweeps(redis, server)
        assert found(server, *streams) == [404, 404]
        server.terminate()

        clock.set(0)
        server.start()
        assert found(server, *streams) == [b"data", b"data"]
        create(server, "/v1/stream/short", stream_ttl=SHORT)
        wait_until(lambda: redis.command("EXISTS", "headgate:{short}") == 0, told=server.output)
    finally:
        server.close()
        redis.stop()


def wait_for_sweeps(redis: RedisServer, server: Headgate) -> None:
    """Wait until the server has looked for expired streams and done what follows, twice."""
    looks = looks_at_deadlines(redis)
    wait_until(lambda: looks_at_deadlines(redis) >= looks + 6, told=server.output)


def looks_at_deadlines(redis: RedisServer) -> int:
    """Return how often the index of deadlines was asked what has expired."""
    found = redis.info("commandstats").get("cmdstat_zrangebyscore", {"calls": 0})
    return int(found["calls"])
