"""A Redis for the tests of a module; each uses keys and streams of its own."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest

from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_servers import RedisServer

_prefixes = itertools.count()


@pytest.fixture(scope="module")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def origin(redis: RedisServer) -> str:
    """The URL of a log of its own in the Redis."""
    return f"{redis.url}?prefix=test{next(_prefixes)}"
