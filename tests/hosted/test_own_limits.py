"""Limits that an operator sets for one stream: retention and TTL, the same on every log."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.features.questions.contract import AnswerFailure
from headgate_gateway.features.questions.streams import LimitStream, StreamDescription
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.protocol.streams.limits import LimitChanges, StreamLimits
from tests.hosted.test_lifetime_limits import expires_in, head
from tests.hosted.test_retention import OWN, beginning, filled, log, numbered, redis
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
    from pathlib import Path

    from headgate_gateway.logs.contract import Log
    from tests.support.redis_servers import RedisServer

__all__ = ["log", "redis"]

ALL = (*OWN, "redis")


async def limit(gateway: Serving, name: str = "s", **changes: int | None) -> StreamDescription:
    """Set limits of a stream."""
    told = await gateway.inspector.answer(LimitStream(PREFIX, name, LimitChanges(**changes)))
    assert isinstance(told, StreamDescription), told
    return told


async def refusal(gateway: Serving, name: str = "s", **changes: int | None) -> tuple[int, str]:
    """Set limits of a stream that it may not have; return the status and the reason."""
    told = await gateway.inspector.answer(LimitStream(PREFIX, name, LimitChanges(**changes)))
    assert isinstance(told, AnswerFailure), told
    return told.status, told.reason


@pytest.mark.parametrize("kind", ALL)
async def test_a_size_of_its_own_is_kept_of_one_stream_alone(log: Log) -> None:
    async with serving(log, own={"retention_size": 800}) as gateway:
        for name in "st":
            await gateway.ask(put(name))
        told = await limit(gateway, retention_size=1600)
        assert told.limits == StreamLimits(0, 1600, 0, 0, ("retention_size",))
        assert told.metadata["keeps the newest"] == "1600 bytes, set for this stream"
        for name in "st":
            await filled(gateway, name, range(40))
        assert b"021" <= await beginning(gateway, "s") <= b"024"
        assert b"030" <= await beginning(gateway, "t") <= b"032"
        told = await limit(gateway, retention_size=None)
        assert told.limits == StreamLimits(0, 800, 0, 0)
        assert told.metadata["keeps the newest"] == "800 bytes"
        assert b"030" <= await beginning(gateway, "s") <= b"032"
        await limit(gateway, retention_size=0)
        await filled(gateway, "s", range(40, 60))
        assert await beginning(gateway, "s") <= b"032"


@pytest.mark.parametrize("kind", ALL)
async def test_messages_of_a_stream_with_its_own_limit_are_counted(log: Log) -> None:
    async with serving_with(put("s"), log) as gateway:
        await filled(gateway, "s", range(10))
        await limit(gateway, retention_messages=16)
        assert await beginning(gateway, "s") == b"000"
        await filled(gateway, "s", range(10, 26))  # what was there is one part, and goes as a whole
        assert await beginning(gateway, "s") == b"010"
        await filled(gateway, "s", range(26, 60))
        assert b"041" <= await beginning(gateway, "s") <= b"044"


@pytest.mark.parametrize("kind", OWN)
async def test_the_age_of_an_idle_stream_counts_from_when_it_was_set(log: Log) -> None:
    async with serving_with(put("s", body=numbered(0)), log) as gateway:
        await limit(gateway, retention_age=80)
        gateway.clock.advance(79)
        await gateway.route.sweeper.round()
        assert await beginning(gateway, "s") == b"000"
        gateway.clock.advance(1)
        gateway.elapsed.advance(80)
        await gateway.route.sweeper.round()
        (await gateway.ask(get(f"s?offset={offset(0)}"))).assert_problem(410)


@pytest.mark.parametrize("kind", OWN)
async def test_a_shorter_ttl_ends_a_stream_sooner_and_a_longer_one_later(log: Log) -> None:
    async with serving(log) as gateway:
        for name in "st":
            await gateway.ask(put(name, "Stream-TTL: 1000"))
        told = await limit(gateway, "s", ttl=100)
        assert told.limits == StreamLimits(0, 0, 0, 100, ("ttl",))
        assert told.metadata["lives on after its last use for"] == "100 s, set for this stream"
        await limit(gateway, "t", ttl=2000)
        assert (await head(gateway, "s")).get("Stream-TTL") == "100"
        for clock in (gateway.clock, gateway.elapsed):
            clock.advance(101)
        assert (await head(gateway, "s")).status == 404
        for clock in (gateway.clock, gateway.elapsed):
            clock.advance(1800)
        assert (await head(gateway, "t")).status == 200


@pytest.mark.parametrize("kind", ALL)
async def test_a_stream_gets_its_first_lifetime_back_and_fits_its_creation(log: Log) -> None:
    async with serving(log, own={"default_ttl": 500}) as gateway:
        creations = [put("s", "Stream-TTL: 1000"), put("t")]
        for creation in creations:
            assert (await gateway.ask(creation)).status == 201
        for name in "st":
            await limit(gateway, name, ttl=0)
            assert (await head(gateway, name)).get("Stream-TTL") is None
        for creation in (*creations, put("s")):  # what it was asked first, and what it shows
            assert (await gateway.ask(creation)).status == 200
        assert (await gateway.ask(put("s", "Stream-TTL: 7"))).status == 409
        for name, ttl in (("s", 1000), ("t", 500)):
            assert (await limit(gateway, name, ttl=None)).limits == StreamLimits(0, 0, 0, ttl)


async def test_limits_survive_a_restart_of_a_gateway_on_a_folder(tmp_path: Path) -> None:
    async with serving_with(put("s", "Stream-TTL: 1000"), SqliteLog(tmp_path)) as gateway:
        before = await limit(gateway, retention_messages=16, ttl=2000)
    async with serving(SqliteLog(tmp_path)) as gateway:
        assert (await limit(gateway, retention_age=0)).limits == StreamLimits(
            0, 0, 16, 2000, ("retention_age", "retention_messages", "ttl")
        )
        assert before.limits == StreamLimits(0, 0, 16, 2000, ("retention_messages", "ttl"))


async def test_a_gateway_follows_the_limits_that_another_has_set(redis: RedisServer) -> None:
    url = f"{redis.url}?prefix=two-gateways"
    async with AsyncExitStack() as stack:
        one, other = [
            await stack.enter_async_context(serving(RedisLog(RedisSettings(parse_redis(url)))))
            for _ in range(2)
        ]
        await one.ask(put("s", "Stream-TTL: 1000"))
        await filled(other, "s", range(1))
        await limit(one, retention_size=800, ttl=300)

        async def shows_the_ttl() -> bool:
            return (await head(other, "s")).get("Stream-TTL") == "300"

        assert await shows_the_ttl()
        await filled(other, "s", range(1, 40))
        assert b"030" <= await beginning(other, "s") <= b"032"


async def test_limits_that_a_stream_may_not_have_are_refused_with_a_reason() -> None:
    async with serving(own={"max_ttl": 1000}) as gateway:
        await gateway.ask(put("s", expires_in(gateway, 50)))
        for ttl in (0, 1001):
            reason = f"a ttl of {ttl} is too long: max_ttl of the route is 1000 seconds"
            assert await refusal(gateway, ttl=ttl) == (400, reason)
        assert (await limit(gateway, ttl=1000)).limits == StreamLimits(0, 0, 0, 1000, ("ttl",))
        gateway.clock.advance(60)
        assert (await refusal(gateway, ttl=None))[0] == 400
        assert (await head(gateway, "s")).get("Stream-TTL") == "1000"
        assert (await refusal(gateway, "none", ttl=1))[0] == 404


async def test_setting_the_same_limits_again_writes_nothing() -> None:
    async with serving_with(put("s")) as gateway:
        await limit(gateway, retention_size=800)
        version = (await gateway.log.load("s")).path_state.state
        await limit(gateway, retention_size=800)
        assert (await gateway.log.load("s")).path_state.state == version


async def test_a_source_keeps_its_records_for_forks_whatever_limit_it_gets() -> None:
    async with serving_with(put("s")) as gateway:
        await filled(gateway, "s", range(4))
        await gateway.ask(put("f", f"Stream-Forked-From: {PREFIX}/s"))
        await limit(gateway, retention_size=100)
        await filled(gateway, "s", range(4, 12))
        assert await beginning(gateway, "s") == b"000"
        assert (await gateway.ask(request("DELETE", "f"))).status == 204
        assert (await gateway.ask(post("s", numbered(12)))).status == 204
        assert await beginning(gateway, "s") >= b"010"
