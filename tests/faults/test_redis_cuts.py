"""Redis goes away while writers write and readers follow: no append lost, none there twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.redis_gateway import await_ready, complaints, gateway_to, redis_gateway
from tests.faults.redis_writers import Writers
from tests.support.cutting_proxy import CuttingProxy
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

SEED = 4438
TIMEOUT_S = 120.0
PAUSE_S = 10.0
PARTS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
DURABLE = {"appendonly": "yes", "appendfsync": "always"}


async def _pause(redis: RedisServer, writers: Writers) -> None:
    await writers.reach(0.3)
    redis.pause()
    await asyncio.sleep(PAUSE_S)
    redis.resume()


async def _kill(redis: RedisServer, writers: Writers) -> None:
    for part in PARTS[::2]:
        await writers.reach(part)
        redis.kill()
        await writers.await_refusal()
        await asyncio.to_thread(redis.start)


async def _kill_connections(redis: RedisServer, writers: Writers) -> None:
    for part in PARTS:
        await writers.reach(part)
        for kind in ("normal", "pubsub"):
            await asyncio.to_thread(redis.command, "CLIENT", "KILL", "TYPE", kind)


async def _flush_functions(redis: RedisServer, writers: Writers) -> None:
    for part in PARTS:
        await writers.reach(part)
        await asyncio.to_thread(redis.command, "FUNCTION", "FLUSH")


async def _fill_memory(redis: RedisServer, writers: Writers) -> None:
    for part in PARTS:
        await writers.reach(part)
        await asyncio.to_thread(redis.command, "CONFIG", "SET", "maxmemory", "1")
        await writers.await_refusal()
        await asyncio.to_thread(redis.command, "CONFIG", "SET", "maxmemory", "0")


@pytest.mark.timeout(TIMEOUT_S + 30)
@pytest.mark.parametrize(
    ("disturb", "options", "outages"),
    [
        (_pause, {}, 1),
        (_kill, DURABLE, 4),
        (_kill_connections, {}, 8),
        (_flush_functions, {}, 8),
        (_fill_memory, {}, 8),
    ],
)
async def test_every_acknowledged_append_is_there_once_after_a_disturbance_of_redis(
    tmp_path: Path,
    disturb: Callable[[RedisServer, Writers], Awaitable[None]],
    options: dict[str, str],
    outages: int,
) -> None:
    with redis_server(tmp_path, **options) as redis, redis_gateway(redis.url) as gateway:
        writers = Writers(gateway)
        async with asyncio.timeout(TIMEOUT_S), writers.at_work():
            await disturb(redis, writers)
        writers.check()
        await_ready(gateway)
        assert max(complaints(gateway).values(), default=0) <= outages, gateway.output()


@pytest.mark.timeout(TIMEOUT_S + 30)
async def test_appends_over_redis_replies_cut_midway_are_neither_lost_nor_stored_twice(
    tmp_path: Path,
) -> None:
    with redis_server(tmp_path) as redis:
        async with CuttingProxy(redis.port, seed=SEED, at_most=64 << 10) as proxy:
            gateway = gateway_to(f"redis://127.0.0.1:{proxy.port}")
            try:
                await asyncio.to_thread(gateway.start)
                writers = await asyncio.to_thread(Writers, gateway)
                async with asyncio.timeout(TIMEOUT_S), writers.at_work():
                    await writers.reach(0.5)
                await asyncio.to_thread(writers.check)
            finally:
                gateway.close()
            assert proxy.cuts >= 10, proxy
