"""The list of paths in Redis: complete and right whoever has left it wrong."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.redis import indexes
from tests.logs.contract import created, loaded, removed
from tests.logs.redis_logs import connected
from tests.logs.test_listing import everything, listed_are
from tests.logs.test_redis_rights import User
from tests.streams.service import Service
from tests.support.redis_groups import ClusterServers
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer

LIST_RIGHTS = ("+zrangebylex", "+zcard")


async def test_streams_of_a_log_with_a_longer_prefix_are_not_listed(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    async with connected(f"{server.url}?prefix={names.prefix}:a") as other:
        await other.commit([created(other, "theirs")])
        await log.commit([created(log, "ours")])
        assert await everything(log) == ["ours"]


async def test_a_new_stream_is_listed_although_its_gateway_dies_before_the_reply(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    """A creation that is refused shows it: nothing follows after that."""
    for path in ("s", "t"):
        await log.commit([created(log, path)])
    assert server.command("ZREM", names.paths, "s") == 1
    with pytest.raises(Conflict):
        await log.commit([created(log, "s")])
    assert await everything(log) == ["s", "t"]


async def test_the_latest_new_streams_are_listed_again_when_the_server_has_lost_writes(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    """As in a cluster, where the server of the list may have lost more than theirs."""
    paths = {"s/1", "s/2"}
    for path in paths:
        await log.commit([created(log, path)])
    await listed_are(log, paths)
    server.command("DEL", names.paths)
    server.command("FUNCTION", "FLUSH")
    await log.load("-")  # loads them again; a stream would tell them the history of the process
    await until(lambda: server.command("ZCARD", names.paths) == len(paths))


async def test_an_index_entry_without_a_stream_is_not_listed_and_is_removed(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    await log.commit([created(log, "s")])
    await listed_are(log, {"s"})
    server.command("ZADD", names.paths, 0, "never", 0, "zero")
    assert await log.listing.page("", "", 1) == ([], "never")
    assert await everything(log) == ["s"]
    await until(lambda: server.command("ZRANGE", names.paths, 0, -1) == [b"s"])


async def test_a_key_without_a_valid_stream_state_hides_no_other_stream_in_the_list(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    for path in ("a", "c"):
        await log.commit([created(log, path, b"x")])
    await listed_are(log, {"a", "c"})
    server.command("SET", names.meta("b"), "hello")
    server.command("HSET", names.meta("bb"), "v", "1.0", "s", "no JSON")
    server.command("ZADD", names.paths, 0, "b", 0, "bb")
    assert await everything(log) == ["a", "c"]
    server.command("ZADD", names.paths, 0, "b", 0, "bb")
    assert await log.listing.largest("", 5) == [(1, "c"), (1, "a")]


@pytest.mark.parametrize("streams", [indexes.AT_ONCE - 1, indexes.AT_ONCE + 1])
async def test_a_survey_of_several_batches_ranks_all_streams(log: RedisLog, streams: int) -> None:
    paths = {f"s{number}" for number in range(streams)}
    await asyncio.gather(*(log.commit([created(log, path, path.encode())]) for path in paths))
    await listed_are(log, paths)
    ranked = sorted(((len(path), path) for path in paths), reverse=True)
    assert await log.listing.largest("", streams) == ranked
    assert await log.listing.largest("", 7) == ranked[:7]


async def test_gateways_that_create_and_remove_one_stream_leave_a_correct_list(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    """The one that removed it may be the later one to touch the list."""
    chance = random.Random(7)
    async with connected(f"{server.url}?prefix={names.prefix}") as other:
        for path in map(str, range(30)):
            for step in range(chance.randint(1, 8)):
                one = chance.choice([log, other])
                path_state = (await one.load(path)).path_state
                change = created(one, path, generation=step)
                if path_state.state is not None:
                    change = removed(path_state.state)
                await one.commit([change])
        stands = {path for path in map(str, range(30)) if await loaded(log, path) is not None}
        assert 0 < len(stands) < 30
        await listed_are(other, stands)
        await until(lambda: server.command("ZCARD", names.paths) == len(stands))


@pytest.mark.usefixtures("processes")
async def test_streams_on_all_cluster_nodes_are_listed(
    tmp_path_factory: pytest.TempPathFactory, names: RedisNames
) -> None:
    paths = {f"s{number}" for number in range(40)}
    with ClusterServers(tmp_path_factory.mktemp("cluster")) as cluster:
        async with connected(f"{cluster.url}?prefix={names.prefix}") as log:
            service = Service(log)
            for path in paths:
                await service.create(path, path.encode())
            await listed_are(log, paths)
            for path in ("s3", "s4"):
                await service.lifecycle.delete(path)
            paths -= {"s3", "s4"}
            await listed_are(log, paths)
            assert len(await log.listing.largest("s1", 50)) == 11


async def test_a_redis_user_without_list_rights_refuses_only_listing(
    server: RedisServer, names: RedisNames
) -> None:
    user = User(server, names.prefix)
    async with connected(user.origin) as log:
        service = Service(log)
        await service.create("s")
        await service.append("s", b"one")
        with pytest.raises(LogUnavailable, match="the Redis user may not do what Headgate needs"):
            await log.listing.page("", "", 50)
        assert log.why_unhealthy() is None
        user.rules(*LIST_RIGHTS)
        assert await everything(log) == ["s"]
    server.command("ACL", "DELUSER", user.name)
