"""A Redis for each module, and ResumableStreams that are closed when a test ends."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

import pytest
from headgate.resumable import Broker, ResumableStreams

from tests.client.resumable.memory_broker import MemoryBroker
from tests.support.redis_servers import RedisServer, redis_server
from tests.support.threaded import Threaded, threaded

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
            streams = ResumableStreams(Broker(broker, broker), **options)  # type: ignore[arg-type]
            stack.push_async_exit(streams)
            return streams

        yield make


@pytest.fixture(scope="module")
def server() -> Iterator[Threaded]:
    with threaded() as server:
        yield server


@pytest.fixture
async def on_log(server: Threaded) -> AsyncIterator[MakeStreams]:
    """Makes one more replica of an application, whose streams are kept in a log."""
    folder = f"{server.streams}/{secrets.token_hex(8)}"
    async with contextlib.AsyncExitStack() as stack:

        def make(**options: object) -> ResumableStreams:
            streams = ResumableStreams(folder, **options)  # type: ignore[arg-type]
            stack.push_async_exit(streams)
            return streams

        yield make


ON_REDIS = pytest.param("on_redis", marks=pytest.mark.processes)


@pytest.fixture(params=[ON_REDIS, "in_memory", "on_log"])
def replicas(request: pytest.FixtureRequest) -> MakeStreams:
    """Each backplane in turn."""
    make: MakeStreams = request.getfixturevalue(request.param)
    return make


@pytest.fixture(params=[ON_REDIS, "in_memory"])
def passed_on(request: pytest.FixtureRequest) -> MakeStreams:
    """Each backplane that keeps the text in the process of its producer."""
    make: MakeStreams = request.getfixturevalue(request.param)
    return make
