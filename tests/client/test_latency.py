from __future__ import annotations

import pytest

from tests.client.latency import WAYS, Pace, measured, written_in_batches
from tests.web.serving import serving

PACE = Pace(count=100, every_ms=2)


@pytest.mark.parametrize(
    "name", [name for name, (_, way) in WAYS.items() if way is written_in_batches]
)
async def test_tokens_are_not_held_up_by_the_way_to_the_server(name: str) -> None:
    async with serving() as gateway:
        row = await measured(gateway.port, name, PACE)
    assert row.requests < PACE.count / 2
    # A request for each token would take 4 s.
    assert row.over_ms < 1000
    assert name in str(row)
