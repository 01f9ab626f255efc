"""The contract is no test module by name, and yet its assertions should explain themselves."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.redis.names import RedisNames
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from headgate_gateway.logs.redis.log import RedisLog
    from tests.support.redis_servers import RedisServer


@pytest.fixture(scope="session")
def server(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server of every log in Redis; each has a prefix of its own there."""
    from tests.logs import contract

    with redis_server(tmp_path_factory.mktemp("redis")) as started:
        contract.REDIS.append(started)
        yield started
        contract.REDIS.clear()


@pytest.fixture
def names() -> RedisNames:
    """Those of a log of the test's own."""
    return RedisNames(uuid.uuid4().hex)


@pytest.fixture
async def log(server: RedisServer, names: RedisNames) -> AsyncIterator[RedisLog]:
    from tests.logs.redis_logs import connected

    async with connected(f"{server.url}?prefix={names.prefix}") as one:
        yield one


@pytest.fixture
async def other(server: RedisServer, names: RedisNames) -> AsyncIterator[RedisLog]:
    """Open the log of another gateway at the same keys."""
    from tests.logs.redis_logs import connected

    async with connected(f"{server.url}?prefix={names.prefix}") as one:
        yield one
