"""Two gateways of one Redis: hosts of MCP subscribe at either, and one of the two delivers."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from gateway.features.subscriptions.shared.subscriptions import SharedSubscriptions
from gateway.features.subscriptions.subscription_handlers import subscriptions_of
from gateway.logs.redis.connector import RedisSettings
from gateway.logs.redis.log import RedisLog
from gateway.settings.log_kinds.redis import parse_redis
from tests.mcp_events import origins
from tests.mcp_events.hosts import append, create, guarded, host
from tests.mcp_events.receivers import hook
from tests.mcp_events.test_webhooks import asked
from tests.support.redis_servers import redis_server
from tests.support.serving import PREFIX
from tests.support.tokens_files import token
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer
    from tests.support.serving import Serving


@pytest.fixture(scope="module")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server of the logs."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


def is_owner(gateway: Serving) -> bool:
    """Return whether a gateway delivers."""
    subscriptions = subscriptions_of(gateway.route)
    assert isinstance(subscriptions, SharedSubscriptions)
    return subscriptions.engine is not None


async def test_a_subscription_made_at_either_gateway_outlives_the_one_that_delivers(
    redis: RedisServer, tmp_path: Path
) -> None:
    settings = RedisSettings(parse_redis(f"{redis.url}?prefix={uuid.uuid4().hex}"))
    async with hook() as at, guarded(tmp_path, RedisLog(settings)) as second:
        async with guarded(tmp_path, RedisLog(settings)) as first:
            await until(lambda: is_owner(first) or is_owner(second))
            other, owner = (second, first) if is_owner(first) else (first, second)
            await create(other, "a/x")
            async with host(other, token=token("all")) as it:
                made = await it.ask("events/subscribe", **asked(at))
                await append(other, "a/x", {"n": 1})
                await at.has(1)
                polled = await it.poll("a/x", made["cursor"])
                assert polled["events"][0]["eventId"] == at.messages[0]["eventId"]
            async with host(owner, token=token("all")) as it:
                assert (await it.ask("events/subscribe", **asked(at)))["id"] == made["id"]
        await until(lambda: is_owner(second))
        await append(second, "a/x", {"n": 2})
        await at.has(1, 2)
        assert at.challenges == 1
        async with host(second, token=token("all")) as it:
            await it.ask("events/unsubscribe", **asked(at))


async def test_before_an_origin_hosts_subscribe_at_either_gateway_and_get_what_either_writes(
    redis: RedisServer, tmp_path: Path
) -> None:
    place = f"{redis.url}?prefix={uuid.uuid4().hex}"
    async with hook() as at, origins.before_own(tmp_path, place=place) as owner:
        assert owner.origin is not None
        url = f"http://127.0.0.1:{owner.origin.port}{PREFIX}"
        async with (
            origins.before(url, tmp_path, place=place) as other,
            other.host("legacy", "all") as client,
        ):
            await other.create("a/x", {"n": 0})
            made = await client.ask("events/subscribe", **asked(at))
            await other.append("a/x", {"n": 1})
            await owner.append("a/x", {"n": 2})
            await at.has(1, 2)
            polled = await client.poll("a/x", made["cursor"])
            assert [one["eventId"] for one in polled["events"]] == [
                one["eventId"] for one in at.messages
            ]
