"""The list of paths in Redis: built where there was none, and right whoever has left it wrong."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

import pytest

from gateway.backends.redis import path_index
from gateway.errors import LogUnavailable
from tests.backends.contract import created, loaded, removed
from tests.backends.redis_logs import connected
from tests.backends.test_listing import everything, listed_are
from tests.backends.test_redis_rights import User
from tests.streams.service import Service
from tests.support.redis_groups import ClusterServers
from tests.support.waiting import until

if TYPE_CHECKING:
    from gateway.backends.redis.log import RedisLog
    from gateway.backends.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer

LIST_RIGHTS = ("+scan", "+zrangebylex", "+zcard")


async def written_before_there_was_a_list(
    server: RedisServer, names: RedisNames, log: RedisLog, paths: set[str]
) -> None:
    for path in paths:
        await log.commit([created(log, path, b"x")])
    await listed_are(log, paths)
    # The log's own search is over, which would keep others from one that finds the streams.
    await until(lambda: server.command("TTL", names.paths_searched) > 60)
    server.command("DEL", names.paths, names.paths_searched)
    assert await everything(log) == []


async def test_streams_written_before_the_path_list_existed_are_found_by_a_search(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    paths = {f"s/{number}" for number in range(300)}
    await written_before_there_was_a_list(server, names, log, paths)
    async with connected(f"{server.url}?prefix={names.prefix}") as other:
        await listed_are(other, paths)
        await until(lambda: server.command("TTL", names.paths_searched) > 60)


async def test_streams_of_a_log_with_a_longer_prefix_are_not_listed(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    longer = f"{names.prefix}:a"
    async with connected(f"{server.url}?prefix={longer}") as other:
        await other.commit([created(other, "theirs")])
        await written_before_there_was_a_list(server, names, log, {"ours"})
        await log._search.search()
        assert await everything(log) == ["ours"]


async def test_no_search_for_paths_begins_while_another_gateway_searches(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    await written_before_there_was_a_list(server, names, log, {"s"})
    server.command("SET", names.paths_searched, "another", "EX", 60)
    async with connected(f"{server.url}?prefix={names.prefix}") as other:
        await other.commit([created(other, "t")])
        await listed_are(other, {"t"})
        assert server.command("GET", names.paths_searched) == b"another"


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


@pytest.mark.parametrize("streams", [path_index.AT_ONCE - 1, path_index.AT_ONCE + 1])
async def test_a_survey_of_more_streams_than_one_batch_ranks_them_all(
    log: RedisLog, streams: int
) -> None:
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
                place = (await one.load(path)).place
                change = created(one, path, generation=step)
                if place.state is not None:
                    change = removed(place.state)
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
            for path in paths:
                await log._execute(names.paths, log._commands.drop_path(path))
            assert await everything(log) == []
            await log._search.search()
            assert await everything(log) == sorted(paths)


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
        await log._search.search()
        assert await everything(log) == ["s"]
    server.command("ACL", "DELUSER", user.name)
