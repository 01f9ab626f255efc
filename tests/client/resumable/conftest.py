"""A Redis for each module, and ResumableStreams that are closed when a test ends."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate.resumable import ResumableStreams
from tests.client.resumable.doubles import MemoryBroker, RenewingBroker
from tests.support.redis_servers import RedisServer, redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from typing import TypeAlias

    MakeStreams: TypeAlias = Callable[..., ResumableStreams]


@pytest.fixture(scope="module")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@contextlib.asynccontextmanager
async def closing(make: MakeStreams) -> AsyncIterator[MakeStreams]:
    async with contextlib.AsyncExitStack() as stack:

        def make_one(**options: object) -> ResumableStreams:
            streams = make(**options)
            stack.push_async_callback(streams.aclose, wait=0)
            return streams

        yield make_one


@pytest.fixture
async def on_redis(redis: RedisServer) -> AsyncIterator[MakeStreams]:
    """Makes one more replica of an application, in Redis."""
    redis.command("FLUSHALL")
    async with closing(lambda **options: ResumableStreams(redis.url, **options)) as make:
        yield make


@pytest.fixture
async def in_memory() -> AsyncIterator[MakeStreams]:
    """Makes one more replica of an application, over a broker of its own."""
    async with closing(MemoryBroker().streams) as make:
        yield make


@pytest.fixture
async def renewing() -> AsyncIterator[MakeStreams]:
    """Makes one more replica of an application, over a broker that can `expire`."""
    async with closing(RenewingBroker().streams) as make:
        yield make


@pytest.fixture(
    params=[pytest.param("on_redis", marks=pytest.mark.processes), "in_memory", "renewing"]
)
def replicas(request: pytest.FixtureRequest) -> MakeStreams:
    """Each broker in turn."""
    make: MakeStreams = request.getfixturevalue(request.param)
    return make
