from __future__ import annotations

from tests.client.histories import campaign


async def test_chunks_written_over_a_hostile_connection_are_read_once_and_in_order() -> None:
    assert await campaign(range(10)) > 200
