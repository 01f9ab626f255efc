"""Lists of 100,000 streams hold up nobody, and leave nothing behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from benchmarks import lists
from headgate.redis_url import parse_redis
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.redis.connector import RedisSettings
from headgate_gateway.logs.redis.log import RedisLog
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.rounds import Measured

MOST_GROWTH_MB = 8.0  # in a process in which other tests have left holes


def test_pages_of_100_000_streams_in_memory_take_short_turns_and_no_memory() -> None:
    # Of asyncio itself: the turns of another event loop cannot be measured one by one.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        check(runner.run(lists.figures_of(MemoryLog())))


@pytest.mark.usefixtures("processes")
def test_pages_of_100_000_streams_in_redis_take_short_turns_and_no_memory(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as server,
        asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner,
    ):
        check(runner.run(lists.figures_of(RedisLog(RedisSettings(parse_redis(server.url))))))


def check(measured: Measured) -> None:
    assert {*measured} == {*lists.QUERIES}
    for load, figures in measured.items():
        assert figures["turn_ms"] <= lists.LONGEST_TURN_MS, (load, figures)
        # What else runs on this machine takes of the time, and not of the processor's for this.
        assert figures["cpu_ms"] <= lists.MOST_MS, (load, figures)
        assert figures["growth_mb"] <= MOST_GROWTH_MB, (load, figures)
