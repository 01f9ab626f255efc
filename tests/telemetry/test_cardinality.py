from __future__ import annotations

from tests.telemetry.cardinality import new_series


async def test_a_thousand_names_made_up_by_clients_add_no_metric_series() -> None:
    assert await new_series(1_000, seed=1) == set()
