"""Gateways on one Redis leave figures for each other, for a few seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.questions.contract import LONGEST_FIGURES
from headgate_gateway.features.redis.figures import KEPT_S, MOST, instances, key_of, share_figures
from tests.logs.redis_logs import connected
from tests.logs.test_redis_rights import User
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer

ODD = 'gw\n"<b>{x} \u202e'


async def test_each_gateway_gets_the_latest_figures_of_the_others(
    server: RedisServer, names: RedisNames, log: RedisLog, other: RedisLog
) -> None:
    assert await share_figures(log.store, "a", '{"n": 1}') == {}
    assert await share_figures(other.store, ODD, "{}") == {"a": '{"n": 1}'}
    assert await share_figures(log.store, "a", '{"n": 2}') == {ODD: "{}"}
    assert await share_figures(log.store, "c", "{}") == {ODD: "{}", "a": '{"n": 2}'}
    assert 0 < server.command("TTL", key_of(names.prefix, "a")) <= KEPT_S


async def test_figures_of_a_gateway_that_stopped_are_dropped(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    await share_figures(log.store, "gone", "{}")
    server.command("PEXPIRE", key_of(names.prefix, "gone"), 1)
    await until(lambda: server.command("EXISTS", key_of(names.prefix, "gone")) == 0)
    assert await share_figures(log.store, "a", "{}") == {}
    assert server.command("ZRANGE", instances(names.prefix), 0, -1) == [b"a"]


@pytest.mark.parametrize("others", [MOST, MOST + 1])
async def test_the_number_of_gateways_with_figures_is_bounded(log: RedisLog, others: int) -> None:
    for number in range(others):
        await share_figures(log.store, f"gateway-{number}", "{}")
    assert len(await share_figures(log.store, "a", "{}")) == MOST


async def test_shared_metrics_over_the_longest_size_are_refused_and_not_read(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    await share_figures(log.store, "a", "x" * LONGEST_FIGURES)
    with pytest.raises(BadRequest):
        await share_figures(log.store, "b", "x" * (LONGEST_FIGURES + 1))
    assert await share_figures(log.store, "b", "{}") == {"a": "x" * LONGEST_FIGURES}
    server.command("SET", key_of(names.prefix, "a"), b"\xff" * LONGEST_FIGURES)
    assert list(await share_figures(log.store, "b", "{}")) == ["a"]
    server.command("APPEND", key_of(names.prefix, "a"), "x")
    assert await share_figures(log.store, "b", "{}") == {}


async def test_the_documented_redis_rights_are_enough_to_share_figures(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    user = User(server, names.prefix)
    await share_figures(log.store, "a", "{}")
    async with connected(user.origin) as other:
        assert await share_figures(other.store, "b", "{}") == {"a": "{}"}
    server.command("DEL", key_of(names.prefix, "a"))
    async with connected(user.origin) as other:
        assert await share_figures(other.store, "b", "{}") == {}
    server.command("ACL", "DELUSER", user.name)
