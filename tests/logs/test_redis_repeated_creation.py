"""A creation that is sent again after others have used its path."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.logs.contract import committed, created, removed
from tests.logs.redis_logs import commit_words, connected, lossy
from tests.streams.service import Service
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer


@pytest.mark.usefixtures("processes")
async def test_a_repeated_creation_does_not_restore_a_stream_removed_since(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        async with connected(server.url) as log:
            change = await committed(log, created(log, "s", b"one", generation=7))
            await log.commit([removed(change.state)])
            answer = server.command(*commit_words(change))
            assert answer[0] == 0
            assert (await log.load("s")).path_state.state is None


async def test_a_fork_removed_before_it_was_resent_releases_its_source_once(
    server: RedisServer, names: RedisNames
) -> None:
    async with (
        lossy(server, names) as (proxy, log),
        connected(f"{server.url}?prefix={names.prefix}") as other,
    ):
        service, beside = Service(log), Service(other)
        await service.create("s", b"past ")
        await beside.fork("kept", "s")
        for word in (b"headgate_settle", b"headgate_commit"):  # the reference, and the fork
            proxy.lose_next(word, after=True)
        forking = asyncio.create_task(service.fork("f", "s"))
        await until(lambda: proxy.lost == 2)
        await beside.lifecycle.delete("f")
        assert (await forking).new
        await beside.lifecycle.delete("s")
        await beside.lifecycle.delete("f")
        assert await beside.data("kept") == b"past "
