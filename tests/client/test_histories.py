from __future__ import annotations

from tests.client.histories import campaign


async def test_what_is_written_on_a_hostile_way_is_read_in_order_and_once() -> None:
    assert await campaign(range(24)) > 500
