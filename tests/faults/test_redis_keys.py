"""Keys that somebody else wrote or removed: their stream is refused, and all others go on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.edge.resuming import readers
from tests.faults.disk import append, assert_refused, content, create
from tests.faults.redis_gateway import assert_told_once, complaints, readiness, redis_gateway
from tests.support.http1 import ask
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

pytestmark = pytest.mark.usefixtures("processes")

META = "headgate:{log}"
RECORDS = f"{META}:records"
RETIRED = f"{META}:retired"
READ_TIMEOUT_S = 30.0
KEYS = (META, RECORDS, RETIRED)
WRONG_TYPES = {
    "state": [("SET", META, "hello")],
    "records": [("DEL", RECORDS), ("LPUSH", RECORDS, "hello")],
}


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis") as server:
        yield server


@pytest.mark.parametrize("commands", WRONG_TYPES.values(), ids=WRONG_TYPES.keys())
@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_a_key_of_a_wrong_type_refuses_its_stream_until_it_is_removed(
    redis: RedisServer, commands: list[tuple[str, ...]], known: bool
) -> None:
    with redis_gateway(redis.url) as gateway, redis_gateway(redis.url) as other:
        for name in ("log", "well"):
            create(gateway, name, b"first ")
        for command in commands:
            redis.command(*command)
        asked = gateway if known else other
        refused = append(asked, "log", b"refused ")
        assert_refused([refused])
        refused.assert_problem(503, "holds something else")
        assert append(asked, "well", b"second ").status == 204
        assert content(asked, "well") == b"first second "
        assert readiness(asked).status == 200
        for _ in range(20):
            assert_refused([append(asked, "log", b"refused ")])
        assert_told_once(asked, "log.refused", "WRONGTYPE")
        redis.command("DEL", *KEYS)
        create(asked, "log", b"new ")
        assert append(asked, "log", b"again").status == 204
        assert content(gateway, "log") == content(other, "log") == b"new again"


def test_a_lost_record_is_reported_and_those_around_it_are_served(redis: RedisServer) -> None:
    with redis_gateway(redis.url) as gateway:
        create(gateway, "log", b"first ")
        offsets = [append(gateway, "log", body).next_offset for body in (b"second ", b"third ")]
        _, (second, _), _ = redis.command("XRANGE", RECORDS, "-", "+")
        redis.command("XDEL", RECORDS, second)
    with redis_gateway(redis.url) as gateway:
        ask(gateway.port, "GET", "/v1/stream/log").assert_problem(500, "missing")
        assert ask(gateway.port, "GET", f"/v1/stream/log?offset={offsets[0]}").body == b"third "
        assert append(gateway, "log", b"fourth").next_offset > offsets[1]


def test_an_unreadable_state_refuses_its_own_stream_only(redis: RedisServer) -> None:
    with redis_gateway(redis.url) as gateway, redis_gateway(redis.url) as other:
        for name in ("log", "well"):
            create(gateway, name, b"first ")
        redis.command("HSET", META, "s", "no JSON")
        for answer in (
            ask(other.port, "GET", "/v1/stream/log"),
            ask(other.port, "PUT", "/v1/stream/log", content_type="text/plain"),
            ask(other.port, "DELETE", "/v1/stream/log"),
            append(other, "log", b"refused "),
        ):
            answer.assert_problem(500, "in Redis")
        assert append(other, "well", b"second ").status == 204
        assert readiness(other).status == 200
        assert "request.failed" not in complaints(other)


def test_an_offset_of_flushed_data_is_refused_by_the_new_stream(redis: RedisServer) -> None:
    with redis_gateway(redis.url) as gateway, redis_gateway(redis.url) as other:
        create(gateway, "log", b"first ")
        offset = append(gateway, "log", b"second ").next_offset
        assert content(other, "log") == b"first second "
        redis.command("FLUSHALL")
        for asked in (gateway, other):
            assert append(asked, "log", b"refused ").status == 404
            assert ask(asked.port, "GET", "/v1/stream/log").status == 404
        create(gateway, "log", b"other bytes than before")
        for asked in (gateway, other):
            assert content(asked, "log") == b"other bytes than before"
            assert ask(asked.port, "GET", f"/v1/stream/log?offset={offset}").status == 410


def _publish(redis: RedisServer, *messages: bytes) -> None:
    """Each message on every channel that a gateway hears, in one round trip."""
    with redis.client() as client, client.pipeline(transaction=False) as pipeline:
        for message in messages:
            pipeline.execute_command("PUBLISH", META, message)
            pipeline.execute_command("SPUBLISH", META, message)
            pipeline.execute_command("PUBLISH", "headgate:gone", message)
        pipeline.execute()


async def test_foreign_messages_on_the_redis_channels_disturb_no_reader(redis: RedisServer) -> None:
    with redis_gateway(redis.url) as gateway, redis_gateway(redis.url) as other:
        create(gateway, "log")
        url = f"{other.streams}/log"
        async with asyncio.timeout(READ_TIMEOUT_S), readers(url, 1) as reading:
            for number in range(20):
                _publish(redis, b"", b"hello", b"\x81", b"\x00" * 1000, b'{"state":{}}')
                assert append(gateway, "log", b"%d " % number).status == 204
                await reading[number % 2].has(len(b"0 ") * (number + 1))
            assert ask(gateway.port, "POST", "/v1/stream/log", stream_closed="true").status == 204
        whole = content(gateway, "log")
        assert [reader.text for reader in reading] == [whole, whole]
        assert readiness(other).status == 200
        assert "log.notifications_lost" not in other.output()
