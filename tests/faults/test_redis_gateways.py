"""Two gateways on one Redis: what is done through one holds for readers of the other."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import edge
from tests.faults.disk import append, content, create
from tests.faults.redis_gateway import redis_gateway
from tests.support.http1 import Wire, ask
from tests.support.processes import headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from tests.support.http1 import Answer
    from tests.support.processes import Headgate
    from tests.support.redis_servers import RedisServer

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

LOG = "/v1/stream/log"
TTL_S = 3
KEPT_S = 6.0  # longer than a stream of that lifetime is found when nobody reads it


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


# ---------------------------------------------------------------- readers elsewhere


@contextlib.contextmanager
def following(gateway: Headgate) -> Iterator[None]:
    """One that follows by SSE while the block lasts."""
    with Wire(gateway.port) as wire:
        wire.send(f"GET {LOG}?offset=now&live=sse HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert wire.socket.recv(1 << 16).startswith(b"HTTP/1.1 200")
        yield


@contextlib.contextmanager
def polling(gateway: Headgate) -> Iterator[None]:
    """One that asks again, after each empty answer to a long-poll, while the block lasts."""
    left = threading.Event()
    statuses: list[int] = []

    def poll() -> None:
        while not left.is_set():
            statuses.append(ask(gateway.port, "GET", f"{LOG}?offset=now&live=long-poll").status)

    reader = threading.Thread(target=poll)
    reader.start()
    try:
        yield
    finally:
        left.set()
        reader.join()
    assert set(statuses) == {204}


@pytest.mark.parametrize("reading", [following, polling])
def test_a_reader_at_one_gateway_extends_a_ttl_seen_by_another(
    redis: RedisServer, reading: Callable[[Headgate], AbstractContextManager[None]]
) -> None:
    longer = {"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "1.5"}
    with redis_gateway(redis.url) as gateway, headgate(redis.url, environment=longer) as other:
        ask(gateway.port, "PUT", LOG, content_type="text/plain", stream_ttl=str(TTL_S))
        with reading(other):
            began = time.monotonic()
            while time.monotonic() < began + KEPT_S:
                assert ask(gateway.port, "HEAD", LOG).status == 200
                time.sleep(0.05)
        wait_until(
            lambda: ask(gateway.port, "HEAD", LOG).status == 404,
            "the stream to expire once its reader has left",
            gateway.output,
        )


# ---------------------------------------------------------------- cached chunks


RECORD = 100_000  # the first whole chunk ends with the third
FIRST = f"{LOG}?offset=-1"


def numbered(number: int) -> bytes:
    """A record that begins with its number."""
    return (b"%03d" % number).ljust(RECORD, b".")


def cache_first_chunk(gateway: Headgate) -> Answer:
    """Have the gateway serve the first chunk from its cache."""
    ask(gateway.port, "GET", FIRST)
    cached = ask(gateway.port, "GET", FIRST)
    assert "; hit" in cached.headers["cache-status"], cached.headers
    assert len(cached.body) == 3 * RECORD
    return cached


def test_data_trimmed_by_one_gateway_are_not_served_from_the_cache_of_another(
    redis: RedisServer,
) -> None:
    retention = {"retention_size": "600KiB"}
    with edge(redis.url, retention) as gateway, edge(redis.url, retention) as other:
        create(gateway, "log")
        for number in range(4):
            assert append(gateway, "log", numbered(number)).status == 204
        cached = cache_first_chunk(other)
        for number in range(4, 20):
            assert append(gateway, "log", numbered(number)).status == 204
        ask(gateway.port, "GET", f"{LOG}?offset={cached.next_offset}").assert_problem(410)
        wait_until(
            lambda: ask(other.port, "GET", FIRST).body[:3] != cached.body[:3],
            "the trim to be heard of",
            other.output,
        )
        kept = content(other, "log")
        assert kept == content(gateway, "log")
        first = int(kept[:3])
        assert kept == b"".join(map(numbered, range(first, 20)))
        assert first >= 20 - 8
        ask(other.port, "GET", f"{LOG}?offset={cached.next_offset}").assert_problem(410)


def test_a_deleted_stream_with_forks_is_not_served_from_another_gateways_cache(
    redis: RedisServer,
) -> None:
    with redis_gateway(redis.url) as gateway, redis_gateway(redis.url) as other:
        create(gateway, "log")
        for number in range(4):
            assert append(gateway, "log", numbered(number)).status == 204
        cache_first_chunk(other)
        fork = ask(
            gateway.port,
            "PUT",
            "/v1/stream/fork",
            content_type="text/plain",
            stream_forked_from=LOG,
        )
        assert fork.status == 201
        assert ask(gateway.port, "DELETE", LOG).status == 204
        wait_until(
            lambda: ask(other.port, "GET", FIRST).status == 410,
            "the deletion to be heard of",
            other.output,
        )
        assert content(other, "fork") == b"".join(map(numbered, range(4)))
