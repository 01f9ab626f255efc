"""The short version of the stress: fewer streams, half a minute with the warm-up."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.client.resumable.stress import MOST_GROWTH_MB, OURS, load
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from tests.support.redis_servers import RedisServer

STREAMS, SECONDS, INTERVAL_S = 10, 10 if IS_WHOLE else 4, 0.3


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
async def test_memory_returns_to_its_level_once_streams_and_readers_are_gone(
    redis: RedisServer,
) -> None:
    """What their readers got is compared in there, and its failure would be one of these."""
    told = await load(OURS, redis.url, STREAMS, SECONDS, INTERVAL_S)
    assert not {"errors", "given up"} & told.keys()
    assert told["streams"] >= STREAMS
    assert told["resumed"] >= STREAMS
    assert told["left"] + told["to the end"] == told["streams"] + told["resumed"]
    assert told["most_mb"] > told["before_mb"] + MOST_GROWTH_MB  # it can be seen at all
    assert told["growth_mb"] <= MOST_GROWTH_MB
