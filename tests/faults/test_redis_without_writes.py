"""A Redis that takes no writes, for want of replicas, of its disk or of memory: reads go on."""

from __future__ import annotations

import asyncio
import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import append, assert_refused, content, create
from tests.faults.redis_gateway import (
    append_until_taken,
    assert_degraded,
    assert_not_ready,
    await_ready,
    gateway_to,
    lose_the_disk,
    redis_gateway,
    starting,
)
from tests.support.http1 import Answer, Client, ask, request
from tests.support.redis_groups import ClusterServers
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.processes import Headgate

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
UNREAD = "was not read since Redis restarted"


def lack_replicas(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "min-replicas-to-write", "1")


def need_no_replicas(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "min-replicas-to-write", "0")


def lack_memory(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory", "1")


def have_memory(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "maxmemory", "0")


def need_no_disk(redis: RedisServer) -> None:
    redis.command("CONFIG", "SET", "save", "")


@dataclass(frozen=True)
class Want:
    """What Redis lacks when it takes no writes, and the words that tell."""

    begin: Callable[[RedisServer], None]
    end: Callable[[RedisServer], None]
    words: str


WANTS = {
    "replicas": Want(lack_replicas, need_no_replicas, "fewer replicas than min-replicas-to-write"),
    "disk": Want(lose_the_disk, need_no_disk, "cannot write its data to disk"),
    "memory": Want(lack_memory, have_memory, "out of memory"),
}


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", enable_protected_configs="yes") as server:
        yield server


def read(gateway: Headgate, stream: str, query: str = "offset=-1", method: str = "GET") -> Answer:
    return ask(gateway.port, method, f"/v1/stream/{stream}?{query}")


@pytest.mark.parametrize("want", WANTS.values(), ids=WANTS.keys())
def test_reads_go_on_while_redis_takes_no_writes(redis: RedisServer, want: Want) -> None:
    with redis_gateway(redis.url) as gateway:
        create(gateway, "log", b"first ")
        waiting = asyncio.run(_readers_stay(gateway, redis, want))
        assert waiting == (b"second ", b"second ", b"second ")
        await_ready(gateway)


async def _readers_stay(
    gateway: Headgate, redis: RedisServer, want: Want
) -> tuple[bytes, bytes, bytes]:
    """What waiting readers get after the end: two by SSE, one that came meanwhile, and a poll."""
    tail = read(gateway, "log").next_offset
    before = await Client.connect(gateway.port)
    live = request("GET", f"/v1/stream/log?offset={tail}&live=sse")
    before.send(live)
    await before.head()
    await asyncio.to_thread(want.begin, redis)
    await asyncio.to_thread(_assert_only_read, gateway, want)
    meanwhile, polling = [await Client.connect(gateway.port) for _ in range(2)]
    meanwhile.send(live)
    assert (await meanwhile.head()).status == 200
    polling.send(request("GET", f"/v1/stream/log?offset={tail}&live=long-poll"))
    await asyncio.to_thread(want.end, redis)
    await asyncio.to_thread(append_until_taken, gateway, "log", b"second ")
    found = [
        (await client.events_until(lambda events: any(it.name == "data" for it in events)))
        for client in (before, meanwhile)
    ]
    one, other = (next(it.data for it in events if it.name == "data").encode() for events in found)
    polled = (await polling.answer()).body
    for client in (before, meanwhile, polling):
        client.close()
    return one, other, polled


def _assert_only_read(gateway: Headgate, want: Want) -> None:
    refused = append(gateway, "log", b"refused ")
    assert_refused([refused, ask(gateway.port, "PUT", "/v1/stream/new", content_type="text/plain")])
    refused.assert_problem(503, want.words)
    assert_degraded(gateway, want.words)
    metrics = ask(gateway.admin_port, "GET", "/metrics").body.splitlines()
    assert b'headgate_storage_up{route="/v1/stream"} 0.0' in metrics
    whole = read(gateway, "log")
    assert (whole.status, whole.body) == (200, b"first ")
    assert whole.headers["stream-up-to-date"] == "true"
    assert read(gateway, "log", method="HEAD").status == 200
    assert read(gateway, "log", "offset=now").status == 200
    assert read(gateway, "absent").status == 404


def test_a_gateway_that_starts_while_redis_lacks_replicas_serves_reads(redis: RedisServer) -> None:
    with redis_gateway(redis.url) as first:
        create(first, "log", b"first ")
        lack_replicas(redis)
        with redis_gateway(redis.url) as second:
            assert_degraded(second, "fewer replicas", "reads go on", "deadlines")
            assert content(second, "log") == b"first "
            assert_refused([append(second, "log", b"refused ")])
            need_no_replicas(redis)
            append_until_taken(second, "log", b"second ")
            await_ready(second)
            assert content(first, "log") == b"first second "


def test_a_gateway_that_starts_before_any_other_waits_for_replicas(tmp_path: Path) -> None:
    with redis_server(tmp_path / "redis", **DURABLE) as redis:
        with redis_gateway(redis.url) as former:
            create(former, "log", b"first ")
        redis.restart()
        lack_replicas(redis)
        gateway = gateway_to(redis.url)
        with starting(gateway) as started:
            assert_not_ready(gateway, "fewer replicas", "cannot be read now")
            refused = read(gateway, "log")
            assert_refused([refused, read(gateway, "absent")])
            refused.assert_problem(503, "were not read since it restarted")
            need_no_replicas(redis)
            started.result()
            await_ready(gateway)
            assert content(gateway, "log") == b"first "


def test_a_stream_that_was_not_read_since_a_restart_waits_for_replicas(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path / "redis", **DURABLE) as redis,
        redis_gateway(redis.url) as gateway,
    ):
        for name in ("read", "unread"):
            create(gateway, name, b"first ")
        redis.restart()
        await_ready(gateway)
        assert content(gateway, "read") == b"first "
        lack_replicas(redis)
        assert_degraded(gateway, "fewer replicas")
        assert content(gateway, "read") == b"first "
        refused = read(gateway, "unread")
        assert_refused([refused])
        refused.assert_problem(503, UNREAD)
        need_no_replicas(redis)
        await_ready(gateway)
        assert content(gateway, "unread") == b"first "


def test_each_primary_of_a_cluster_serves_reads_by_itself(tmp_path: Path) -> None:
    with ClusterServers(tmp_path) as cluster, redis_gateway(cluster.url) as gateway:
        names = [f"log-{number}" for number in range(12)]
        for name in names:
            create(gateway, name, b"first ")
        lacking = cluster.node_of("headgate:{log-0}")
        lack_replicas(lacking)
        assert_degraded(gateway, f"{lacking.port}", "fewer replicas")
        for name in names:
            is_there = cluster.node_of(f"headgate:{{{name}}}") is lacking
            assert append(gateway, name, b"second ").status == (503 if is_there else 204)
            assert content(gateway, name) == (b"first " if is_there else b"first second ")
        cluster.nodes[0 if cluster.nodes[0] is not lacking else 1].kill()
        assert_not_ready(gateway)


@dataclass
class Reading:
    """One read of a stream: when it began, and what it returned."""

    began: float
    answer: Answer


def test_a_demoted_primary_answers_no_read_with_what_is_old(tmp_path: Path) -> None:
    options = {"repl_diskless_sync_delay": "0", "repl_ping_replica_period": "3600"}
    with (
        redis_server(tmp_path / "one", **options) as one,
        redis_server(tmp_path / "other", **options) as other,
        redis_gateway(one.url) as gateway,
    ):
        for name in ("log", "quiet"):
            create(gateway, name, b"first ")
        follow(other, one)
        for turn in range(3):
            change_roles(one, other, gateway, b"%d " % turn)


def follow(replica: RedisServer, primary: RedisServer) -> None:
    """Have a server follow another one, and wait until it has all that is written there."""
    replica.command("REPLICAOF", "127.0.0.1", primary.port)

    def is_in_sync() -> bool:
        seen = replica.info("replication")
        at = primary.info("replication")["master_repl_offset"]
        return bool(seen["master_link_status"] == "up" and seen["slave_repl_offset"] >= at)

    wait_until(is_in_sync, "the replica to be in sync", replica.output)


def change_roles(one: RedisServer, other: RedisServer, gateway: Headgate, new: bytes) -> None:
    """The primary becomes a replica without a whole copy, and the primary again, without replicas.

    Meanwhile another gateway appends at the other server.
    """
    lack_replicas(one)
    before = content(gateway, "log")
    readings: list[Reading] = []
    with reading(gateway, readings):
        other.command("REPLICAOF", "NO", "ONE")
        assert_degraded(gateway, "fewer replicas")
        assert content(gateway, "log") == before
        copies = other.info("stats")["sync_partial_ok"]
        follow(one, other)
        assert other.info("stats")["sync_partial_ok"] == copies + 1
        with redis_gateway(other.url) as elsewhere:
            append_until_taken(elsewhere, "log", new)
            written_at = time.monotonic()
            assert_not_ready(gateway, "is a replica")
            assert_refused([read(gateway, "log")])
            wait_until(
                lambda: (
                    one.info("replication")["slave_repl_offset"]
                    >= other.info("replication")["master_repl_offset"]
                ),
                "the replica to have all",
            )
        one.command("REPLICAOF", "NO", "ONE")
        assert_degraded(gateway, "fewer replicas")
        assert_refused([read(gateway, "log")])  # in a history that this server has not seen
        assert content(gateway, "quiet") == b"first "
        follow(other, one)
        append_until_taken(gateway, "log", b"end ")
    need_no_replicas(one)
    assert content(gateway, "log") == before + new + b"end "
    assert content(gateway, "quiet") == b"first "  # now in the history that began with this
    later = [it.answer for it in readings if it.began > written_at]
    assert later
    assert not [it for it in later if it.get("Stream-Up-To-Date") and new not in it.body]
    assert {it.answer.status for it in readings} <= {200, 503}


@contextlib.contextmanager
def reading(gateway: Headgate, readings: list[Reading]) -> Iterator[None]:
    """Read the stream again and again from several threads."""
    is_over = False

    def go_on() -> None:
        while not is_over:
            began = time.monotonic()
            readings.append(Reading(began, read(gateway, "log")))

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(go_on) for _ in range(4)]
        try:
            yield
        finally:
            is_over = True
        for one in done:
            one.result()
