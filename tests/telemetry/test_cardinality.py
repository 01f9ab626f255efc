from __future__ import annotations

from tests.telemetry.cardinality import new_series


async def test_names_made_up_by_clients_add_no_metric_series() -> None:
    assert await new_series(400, seed=1) == set()
