"""Gateways on one Redis leave figures for each other, for a few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.backends.redis.shared_metrics import KEPT_S, MOST
from gateway.errors import BadRequest
from gateway.telemetry.inspection import LONGEST_FIGURES
from tests.backends.redis_logs import connected
from tests.backends.test_redis_rights import User
from tests.support.waiting import until

if TYPE_CHECKING:
    from gateway.backends.redis.log import RedisLog
    from gateway.backends.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer

ODD = 'gw\n"<b>{x} \u202e'


async def test_each_gateway_gets_the_latest_figures_of_the_others(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    assert await log.sharing.share_figures("a", '{"n": 1}') == {}
    async with connected(f"{server.url}?prefix={names.prefix}") as other:
        assert await other.sharing.share_figures(ODD, "{}") == {"a": '{"n": 1}'}
    assert await log.sharing.share_figures("a", '{"n": 2}') == {ODD: "{}"}
    assert await log.sharing.share_figures("c", "{}") == {ODD: "{}", "a": '{"n": 2}'}
    assert 0 < server.command("TTL", names.figures("a")) <= KEPT_S


async def test_figures_of_a_gateway_that_stopped_are_dropped(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    await log.sharing.share_figures("gone", "{}")
    server.command("PEXPIRE", names.figures("gone"), 1)
    await until(lambda: server.command("EXISTS", names.figures("gone")) == 0)
    assert await log.sharing.share_figures("a", "{}") == {}
    assert server.command("ZRANGE", names.instances, 0, -1) == [b"a"]


@pytest.mark.parametrize("others", [MOST, MOST + 1])
async def test_the_number_of_gateways_whose_figures_are_returned_is_bounded(
    log: RedisLog, others: int
) -> None:
    for number in range(others):
        await log.sharing.share_figures(f"gateway-{number}", "{}")
    assert len(await log.sharing.share_figures("a", "{}")) == MOST


async def test_shared_metrics_over_the_longest_size_are_refused_and_not_read(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    await log.sharing.share_figures("a", "x" * LONGEST_FIGURES)
    with pytest.raises(BadRequest):
        await log.sharing.share_figures("b", "x" * (LONGEST_FIGURES + 1))
    assert await log.sharing.share_figures("b", "{}") == {"a": "x" * LONGEST_FIGURES}
    server.command("SET", names.figures("a"), b"\xff" * LONGEST_FIGURES)
    assert list(await log.sharing.share_figures("b", "{}")) == ["a"]
    server.command("APPEND", names.figures("a"), "x")
    assert await log.sharing.share_figures("b", "{}") == {}


async def test_the_documented_redis_rights_are_enough_to_share_figures(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    user = User(server, names.prefix)
    await log.sharing.share_figures("a", "{}")
    async with connected(user.origin) as other:
        assert await other.sharing.share_figures("b", "{}") == {"a": "{}"}
    server.command("DEL", names.figures("a"))
    async with connected(user.origin) as other:
        assert await other.sharing.share_figures("b", "{}") == {}
    server.command("ACL", "DELUSER", user.name)
