"""What is due in a log that somebody else has written to."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.logs.contract import committed, created, removed
from tests.support.manual_clock import at
from tests.support.waiting import PATIENCE_S

if TYPE_CHECKING:
    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.names import RedisNames
    from tests.support.redis_servers import RedisServer

STRANGERS = {
    "a key of another type": ("SET", "{key}", "hello"),
    "a state that is no JSON": ("HSET", "{key}", "v", "1.0", "s", "no JSON"),
}


@pytest.mark.parametrize("command", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.parametrize("strangers", [1, 300], ids=["one", "more than are looked at together"])
async def test_a_foreign_value_at_one_stream_does_not_stop_others_from_expiring(
    server: RedisServer, names: RedisNames, log: RedisLog, command: tuple[str, ...], strangers: int
) -> None:
    await log.commit([created(log, "s", deadline=5.0)])
    for number in range(strangers):
        path = f"stranger{number}"
        server.command(*[word.format(key=names.meta(path)) for word in command])
        server.command("ZADD", names.deadlines, 1.0, path)
    async with asyncio.timeout(PATIENCE_S):
        assert await log.expired(at(4.0), 10) == []
        assert await log.expired(at(5.0), 10) == ["s"]


async def test_remains_of_a_removed_stream_are_deleted_by_the_expiry_query(
    server: RedisServer, names: RedisNames, log: RedisLog
) -> None:
    """The gateway that removed it may be gone before it has purged it."""
    change = await committed(log, created(log, "s", b"one"))
    left = [server.command("DUMP", key) for key in names.keys("s")[:2]]
    await log.commit([removed(change.state)])
    assert server.command("ZRANGE", names.deadlines, 0, -1) == [b"s"]
    await log.load("s")
    for key, value in zip(names.keys("s"), left, strict=False):
        server.command("RESTORE", key, 0, value, "REPLACE")
    server.command("HSET", names.meta("s"), "v", "", "s", "")
    assert await log.expired(at(0.0), 10) == []
    assert server.command("EXISTS", *names.keys("s")[:2], names.deadlines) == 0
