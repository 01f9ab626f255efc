"""`python -m benchmarks.redis_commands`: processor time of a command by our pipelines and redis-py.

Each call sets a key to 100 bytes. As with requests, none knows of the others that come at once.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import uvloop
from redis.asyncio import Redis

from benchmarks.rounds import tell
from headgate.redis_url import parse_redis
from headgate_gateway.logs.redis.connection import pack
from headgate_gateway.logs.redis.connector import ONLY, RedisConnector, RedisSettings
from headgate_gateway.logs.redis.pipeline import Pipeline
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate_gateway.logs.redis.connection import Unreachable
    from headgate_gateway.logs.redis.pipeline import Answer

AT_ONCE = (1, 16, 64)
ROUNDS = 300
WARM = 20
VALUE = bytes(100)


class Commands:
    """One round of each way to send commands."""

    def __init__(self, url: str) -> None:
        connector = RedisConnector(RedisSettings(parse_redis(url)))
        self._pipeline = Pipeline(partial(connector.connect, ONLY), lambda _: None, 5.0)
        self._redis = Redis.from_url(url, protocol=2)

    async def by_our_pipeline(self, keys: list[str]) -> None:
        """Gather what callbacks wait for, as the log does."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        left = len(keys)

        def on_answer(_: Answer | Unreachable) -> None:
            nonlocal left
            left -= 1
            if not left:
                done.set_result(None)

        for key in keys:
            self._pipeline.send([pack("SET", key, VALUE)], on_answer)
        await done

    async def by_redis_py(self, keys: list[str]) -> None:
        """Let each call send its command."""
        await asyncio.gather(*(self._redis.set(key, VALUE) for key in keys))

    async def by_one_pipeline_of_redis_py(self, keys: list[str]) -> None:
        """Fill a pipeline with all of them, which one caller would have to know of."""
        async with self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.set(key, VALUE)
            await pipeline.execute()

    async def close(self) -> None:
        """Close all connections."""
        await self._pipeline.close()
        await self._redis.aclose()


async def _compare(url: str) -> None:
    commands = Commands(url)
    ways = (
        commands.by_our_pipeline,
        commands.by_redis_py,
        commands.by_one_pipeline_of_redis_py,
    )
    for count in AT_ONCE:
        keys = [f"key-{number}" for number in range(count)]
        spent: dict[str, list[float]] = {way.__name__: [] for way in ways}
        for number in range(WARM + ROUNDS):
            for way in ways[:: 1 if number % 2 else -1]:
                spent[way.__name__].append(await _microseconds(way, keys))
        found = {name: median(each[WARM:]) for name, each in spent.items()}
        ours = found["by_our_pipeline"]
        for name, each in found.items():
            words = name.replace("_", " ")
            tell(f"{count} at once, {words}: {each:.1f} us each, {each / ours:.1f} x")
    await commands.close()


async def _microseconds(way: Callable[[list[str]], Awaitable[None]], keys: list[str]) -> float:
    before = time.process_time()
    await way(keys)
    return (time.process_time() - before) * 1e6 / len(keys)


def main() -> None:
    """Compare the ways on a Redis that is started for it."""
    with tempfile.TemporaryDirectory() as folder, redis_server(Path(folder)) as server:
        uvloop.run(_compare(server.url))


if __name__ == "__main__":
    main()
