"""That tokens are not held up is asserted here by the count of requests, which no machine changes.

How late they may be is a promise in milliseconds: the command that measures it, a part of `make
bench`, fails when it is broken. Beside other tests it would fail for want of a processor.
"""

from __future__ import annotations

import pytest

from tests.client import latency
from tests.client.latency import MOST_ADDED_MS, MOST_OVER_MS, WAYS, Pace, Row, measured
from tests.client.writing import JSON
from tests.web.serving import serving

PACE = Pace(count=100, every_ms=2)
OURS = [name for name, (_, way) in WAYS.items() if way is latency.written_in_batches]


@pytest.mark.parametrize("name", OURS)
async def test_writers_send_tokens_in_fewer_than_half_as_many_requests(name: str) -> None:
    async with serving() as gateway:
        row = await measured(gateway.port, name, PACE)
    assert row.requests < PACE.count / 2
    assert name in str(row)


@pytest.mark.parametrize(
    ("over_ms", "p99_ms", "is_met"),
    [
        (MOST_OVER_MS, MOST_ADDED_MS, True),
        (MOST_OVER_MS + 0.1, MOST_ADDED_MS, False),
        (MOST_OVER_MS, MOST_ADDED_MS + 0.1, False),
    ],
)
def test_a_latency_row_is_met_only_up_to_both_bounds(
    over_ms: float, p99_ms: float, is_met: bool
) -> None:
    assert Row("a way", 1, over_ms, 0.0, p99_ms).is_met is is_met


@pytest.mark.parametrize("way", [latency.written_in_batches, latency.posted_one_by_one])
async def test_the_latency_measurement_fails_only_for_a_late_writer_of_batches(
    way: latency.Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latency, "MOST_ADDED_MS", -1.0)
    monkeypatch.setattr(latency, "WAYS", {"a way": (JSON, way)})
    async with serving() as gateway:
        is_met = await latency.measure(gateway.port, Pace(count=3, every_ms=1))
    assert is_met is (way is not latency.written_in_batches)
