from __future__ import annotations

from tests.telemetry.cardinality import new_series


async def test_names_that_clients_make_up_add_no_series() -> None:
    assert await new_series(1_000, seed=1) == set()
