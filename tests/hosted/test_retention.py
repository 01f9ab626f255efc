"""Retention over HTTP: a stream begins later, the same on every log."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from tests.logs.contract import reclaimed
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.serving import (
    PREFIX,
    Serving,
    get,
    offset,
    post,
    put,
    request,
    serving,
    serving_with,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate_gateway.logs.contract import Log

RECORD = 100
KEPT = 800  # bytes; marks are an eighth apart
OWN = ("memory", "file")  # logs without a clock of their own


@pytest.fixture(scope="module")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Return a server; each log has a prefix of its own there."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def log(kind: str, tmp_path: Path, redis: RedisServer) -> Log:
    """Return a new log of a kind."""
    if kind == "memory":
        return MemoryLog()
    if kind == "file":
        return SqliteLog(tmp_path)
    return RedisLog(RedisSettings(parse_redis(f"{redis.url}?prefix={uuid.uuid4().hex}")))


def numbered(number: int) -> bytes:
    return b"%03d" % number * (RECORD // 3) + b"."


async def filled(gateway: Serving, name: str, records: range) -> None:
    for number in records:
        assert (await gateway.ask(post(name, numbered(number)))).status == 204


async def beginning(gateway: Serving, name: str) -> bytes:
    """Return the first three bytes of a stream."""
    answer = await gateway.ask(get(f"{name}?offset=-1"))
    assert answer.status == 200
    return answer.body[:3]


@pytest.mark.parametrize("kind", [*OWN, "redis"])
async def test_a_stream_over_its_size_begins_later_and_earlier_offsets_get_410(log: Log) -> None:
    async with serving(log, own={"retention_size": KEPT}) as gateway:
        created = await gateway.ask(put("s"))
        await filled(gateway, "s", range(8))
        assert await beginning(gateway, "s") == b"000"
        await filled(gateway, "s", range(8, 40))
        await reclaimed(log)
        assert b"030" <= await beginning(gateway, "s") <= b"032"
        answer = await gateway.ask(get(f"s?offset={created.next_offset}"))
        answer.assert_problem(410, "the stream begins at")
        tail = await gateway.ask(get("s?offset=now"))
        assert tail.status == 200


@pytest.mark.parametrize("kind", [*OWN, "redis"])
async def test_a_stream_keeps_its_last_messages_of_appends_of_several(log: Log) -> None:
    json = "application/json"
    async with serving(log, own={"retention_messages": 16}) as gateway:
        await gateway.ask(put("s", content_type=json))
        for number in range(100):
            body = b"[%d,%d]" % (2 * number, 2 * number + 1)
            assert (await gateway.ask(post("s", body, content_type=json))).status == 204
        kept = (await gateway.ask(get("s?offset=-1"))).json()
        assert kept == list(range(kept[0], 200))
        assert 16 <= len(kept) <= 18


@pytest.mark.parametrize("kind", [*OWN, "redis"])
async def test_a_fork_keeps_what_it_inherited_of_a_source_over_its_size(log: Log) -> None:
    async with serving_with(put("s"), log, own={"retention_size": KEPT}) as gateway:
        await filled(gateway, "s", range(4))
        fork = await gateway.ask(put("f", f"Stream-Forked-From: {PREFIX}/s"))
        assert fork.status == 201
        await filled(gateway, "s", range(4, 40))
        await reclaimed(log)
        assert (await gateway.ask(get("f?offset=-1"))).body == b"".join(map(numbered, range(4)))
        assert await beginning(gateway, "s") == b"000"
        assert (await gateway.ask(request("DELETE", "f"))).status == 204
        await filled(gateway, "s", range(40, 41))
        await reclaimed(log)
        assert b"031" <= await beginning(gateway, "s") <= b"033"


@pytest.mark.parametrize("kind", OWN)
async def test_a_fork_is_trimmed_beyond_what_it_inherited(log: Log) -> None:
    async with serving_with(put("s"), log, own={"retention_size": KEPT}) as gateway:
        await filled(gateway, "s", range(4))
        await gateway.ask(put("f", f"Stream-Forked-From: {PREFIX}/s"))
        await filled(gateway, "f", range(4, 40))
        await reclaimed(log)
        assert b"030" <= await beginning(gateway, "f") <= b"032"
        (await gateway.ask(get(f"f?offset={offset(0)}"))).assert_problem(410)
        assert (await gateway.ask(get("s?offset=-1"))).body == b"".join(map(numbered, range(4)))


@pytest.mark.parametrize("kind", OWN)
async def test_an_idle_stream_is_emptied_when_its_records_are_too_old(log: Log) -> None:
    async with serving_with(put("s", body=numbered(0)), log, own={"retention_age": 80}) as gateway:
        gateway.clock.advance(79)
        await gateway.route.sweeper.round()
        assert await beginning(gateway, "s") == b"000"
        gateway.clock.advance(1)
        gateway.elapsed.advance(80)
        await gateway.route.sweeper.round()
        assert (await gateway.ask(get("s?offset=-1"))).body == b""
        (await gateway.ask(get(f"s?offset={offset(0)}"))).assert_problem(410)
        await filled(gateway, "s", range(1, 2))
        assert await beginning(gateway, "s") == b"001"


@pytest.mark.parametrize("kind", OWN)
@pytest.mark.parametrize("own", [{"retention_size": CHUNK_BYTES}, {"retention_age": 80}])
async def test_a_chunk_of_removed_records_is_not_served(own: dict[str, int], log: Log) -> None:
    async with serving(log, own=own) as gateway:
        await gateway.ask(put("s", body=b"x" * CHUNK_BYTES))
        await gateway.ask(post("s", b"more"))
        whole = f"s?offset={offset(0)}"
        for cached in ("MISS", "HIT"):
            answer = await gateway.ask(get(whole))
            assert (answer.get("X-Cache"), len(answer.body)) == (cached, CHUNK_BYTES)
        if "retention_age" in own:
            gateway.clock.advance(80)
            gateway.elapsed.advance(80)
            await gateway.route.sweeper.round()
        else:
            await gateway.ask(post("s", b"y" * CHUNK_BYTES))
        (await gateway.ask(get(whole))).assert_problem(410, "no longer kept")
