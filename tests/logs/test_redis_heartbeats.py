"""Gateways on one Redis see which of the others run, and what those write."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.features.redis.heartbeats import RedisHeartbeats

if TYPE_CHECKING:
    from gateway.logs.redis.log import RedisLog
    from gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer


async def test_a_beat_returns_the_beats_of_all_writers(log: RedisLog, other: RedisLog) -> None:
    beats, others = RedisHeartbeats(log.store), RedisHeartbeats(other.store)
    assert await beats.beat("answers", "a", 1) == {"a": 1}
    assert await others.beat("answers", "b", 7) == {"a": 1, "b": 7}
    assert await others.beat("else{where}", "c", 1) == {"c": 1}
    assert await beats.beat("answers", "a", 2) == {"a": 2, "b": 7}


async def test_beats_that_another_program_has_written_are_passed_over(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    server.command("HSET", f"{names.prefix}:writers[answers]", b"\xff", "1", "b", "many")
    assert await RedisHeartbeats(log.store).beat("answers", "a", 1) == {"a": 1, "\ufffd": 1}


async def test_a_writer_has_the_streams_that_it_has_noted_and_not_dropped(log: RedisLog) -> None:
    beats = RedisHeartbeats(log.store)
    assert await beats.noted("a") == []
    await beats.note("a", "one")
    await beats.note("a", "chats/{two}")
    await beats.note("b", "three")
    await beats.drop("a", "one")
    assert await beats.noted("a") == ["chats/{two}"]


async def test_nothing_is_left_of_a_writer_that_is_forgotten(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    beats = RedisHeartbeats(log.store)
    await beats.beat("answers", "a", 1)
    await beats.note("a", "one")
    await beats.forget("answers", "a")
    keys = f"{names.prefix}:writers[answers]", f"{names.prefix}:writing[a]"
    assert server.command("EXISTS", *keys) == 0
