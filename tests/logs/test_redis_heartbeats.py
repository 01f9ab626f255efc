"""Gateways on one Redis see which of the others run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate_gateway.features.redis.heartbeats import RedisHeartbeats
from headgate_gateway.features.redis.writers import RedisWriters

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer


async def test_a_beat_returns_the_beats_of_all_writers(log: RedisLog, other: RedisLog) -> None:
    beats, others = RedisHeartbeats(log.store), RedisHeartbeats(other.store)
    assert await beats.beat("a", 1) == {"a": 1}
    assert await others.beat("b", 7) == {"a": 1, "b": 7}
    assert await beats.beat("a", 2) == {"a": 2, "b": 7}


async def test_beats_that_another_program_has_written_are_passed_over(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    server.command("HSET", f"{names.prefix}:writers[__ds]", b"\xff", "1", "b", "many")
    assert await RedisHeartbeats(log.store).beat("a", 1) == {"a": 1, "\ufffd": 1}


async def test_nothing_is_left_of_a_writer_that_is_forgotten(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    beats = RedisHeartbeats(log.store)
    await beats.beat("a", 1)
    await beats.forget("a")
    assert server.command("EXISTS", f"{names.prefix}:writers[__ds]") == 0


async def test_a_writer_is_alive_from_its_beat_until_it_is_forgotten(
    log: RedisLog, other: RedisLog
) -> None:
    writers, others = RedisWriters(log.store), RedisWriters(other.store)
    assert not await others.is_alive("a")
    await writers.beat("a")
    assert await others.is_alive("a")
    await writers.forget("a")
    assert not await others.is_alive("a")
