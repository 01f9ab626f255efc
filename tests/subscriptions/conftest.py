"""These tests run on the event loop of production, and many of them on several kinds of logs."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest

from tests.subscriptions.receivers import LOGS, log_at
from tests.support.event_loops import pytest_asyncio_loop_factories as pytest_asyncio_loop_factories
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_servers import RedisServer

# The modules whose tests of a gateway run on a log in memory, and on one in Redis.
ON_SEVERAL_LOGS = (
    *("test_access", "test_configuration", "test_failures", "test_limits", "test_links"),
    *("test_operators", "test_pauses", "test_pull_wakes", "test_replays", "test_webhook_wakes"),
)


@pytest.fixture(scope="session")
def redis(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """The server of the logs in Redis; each has a prefix of its own there."""
    with redis_server(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis_url(redis: RedisServer) -> str:
    """The origin of a log of the test's own."""
    return f"{redis.url}?prefix={uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def kind_of_log(request: pytest.FixtureRequest) -> Iterator[None]:
    """The kind of the logs of gateways that name none."""
    if getattr(request, "param", "memory") == "memory":
        yield
        return
    url = request.getfixturevalue("redis_url")
    LOGS.append(lambda: log_at(url))
    yield
    LOGS.pop()


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run every asynchronous test of some modules on several kinds of logs."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in ON_SEVERAL_LOGS and metafunc.definition.get_closest_marker("asyncio"):
        redis = pytest.param("redis", marks=pytest.mark.processes)
        metafunc.parametrize("kind_of_log", ["memory", redis], indirect=True)
