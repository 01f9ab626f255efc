"""The measurement of latency fails when tokens are later than promised."""

from __future__ import annotations

import pytest

from benchmarks import latency
from benchmarks.latency import Pace
from tests.client.writing import JSON
from tests.support.serving import serving


@pytest.mark.parametrize("way", [latency.written_in_batches, latency.posted_one_by_one])
async def test_the_latency_measurement_fails_only_for_a_late_writer_of_batches(
    way: latency.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "MOST_ADDED_MS", -1.0)
    monkeypatch.setattr(latency, "WAYS", {"a way": (JSON, way)})
    async with serving() as gateway:
        is_met = await latency.measure(gateway.port, Pace(count=3, every_ms=1))
    assert is_met is (way is not latency.written_in_batches)
