"""A Redis for each module, and ResumableStreams that are closed when a test ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from headgate.resumable import ResumableStreams

from tests.client.resumable.memory_broker import MemoryBroker
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import TypeAlias

    MakeStreams: TypeAlias = Callable[..., ResumableStreams]


@pytest.fixture(scope="module")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
async def on_redis(redis: RedisServer) -> AsyncIterator[MakeStreams]:
    """Makes one more replica of an application, in Redis."""
    async with contextlib.AsyncExitStack() as stack:
        made: list[ResumableStreams] = []

        def make(**options: object) -> ResumableStreams:
            made.append(ResumableStreams(redis.url, **options))  # type: ignore[arg-type]
            stack.push_async_exit(made[-1])
            return made[-1]

        redis.command("FLUSHALL")
        yield make


@pytest.fixture
async def in_memory() -> AsyncIterator[MakeStreams]:
    """Makes one more replica of an application, with a broker of the user's."""
    broker = MemoryBroker()
    async with contextlib.AsyncExitStack() as stack:

        def make(**options: object) -> ResumableStreams:
            streams = ResumableStreams(broker, **options)  # type: ignore[arg-type]
            stack.push_async_exit(streams)
            return streams

        yield make


ON_REDIS = pytest.param("on_redis", marks=pytest.mark.processes)


@pytest.fixture(params=[ON_REDIS, "in_memory"])
def replicas(request: pytest.FixtureRequest) -> MakeStreams:
    """Each broker in turn."""
    make: MakeStreams = request.getfixturevalue(request.param)
    return make
