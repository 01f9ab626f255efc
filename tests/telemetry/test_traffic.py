"""What is counted of requests in plain numbers, and what it comes to."""

from __future__ import annotations

from bisect import bisect_left
from operator import ge

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.live.feed_state import Round
from headgate_gateway.live.live_turns import Delivery
from headgate_gateway.protocol import http1
from headgate_gateway.telemetry.metrics import Distribution, Histogram
from headgate_gateway.telemetry.traffic import (
    HIT,
    NOWHERE,
    OFFSET,
    READ,
    SECONDS,
    START,
    LiveTraffic,
    Traffic,
    resume_kind,
)


@pytest.mark.parametrize(("offset", "kind"), [(None, START), ("now", NOWHERE), ("0001", OFFSET)])
def test_the_kind_of_a_read_follows_from_its_offset(offset: str | None, kind: int) -> None:
    assert resume_kind(offset) == kind


# Halves can be subtracted without rounding, so that bounds are met exactly.
HALVES = st.lists(st.integers(0, 12).map(lambda half: half / 2), min_size=1, max_size=20)


@given(since=HALVES)
def test_a_histogram_of_many_moments_equals_one_with_each_moment_observed_alone(
    since: list[float],
) -> None:
    together, apart = (Histogram((0.5, 1.0, 2.5, 5.0)) for _ in range(2))
    together.observe_since([100.0 - seconds for seconds in sorted(since, reverse=True)], 100.0)
    for seconds in since:
        apart.observe(seconds)
    assert together.distribution() == apart.distribution()


def test_unmeasured_hits_count_with_the_duration_of_the_last_measured_hit() -> None:
    traffic = Traffic()
    hits = traffic.hits(READ, START)
    for seconds in (0.0001, None, None, 0.0002, None, 1.0):
        hits.count += 1
        if seconds is not None:
            hits.measured(seconds)
    told = traffic.duration(READ)
    assert told.sum == pytest.approx(3 * 0.0001 + 2 * 0.0002 + 1.0)
    assert (told.counts[0], told.counts[SECONDS.index(1.0)], sum(told.counts)) == (5, 1, 6)
    assert traffic.result_count(HIT) == traffic.request_count(READ, 1) == 6


@given(st.lists(st.none() | st.sampled_from([0.0001, 0.0004, *SECONDS, 0.03, 20.0])))
def test_the_sum_and_buckets_of_hit_durations_agree_and_only_grow(took: list[float | None]) -> None:
    hits, before = Traffic().hits(READ, OFFSET), Distribution((0,) * (len(SECONDS) + 1), 0.0)
    latest, buckets, seconds = 0.0, [0] * (len(SECONDS) + 1), 0.0
    for one in took:
        hits.count += 1
        if one is not None:
            hits.measured(one)
            latest = one
        buckets[bisect_left(SECONDS, latest)] += 1
        seconds += latest
        told = hits.distribution()
        assert told.counts == tuple(buckets)
        assert told.sum == pytest.approx(seconds)
        assert all(map(ge, told.counts, before.counts))
        assert told.sum >= before.sum * (1 - 1e-12)  # floats are added in another order
        before = told


def test_a_delivery_counts_the_bytes_and_events_written_to_each_reader() -> None:
    told, traffic = Delivery([Round("0", ["news"], 5.0)], events=2), LiveTraffic()
    told.pieces = [
        (http1.chunk(b"data1"), 5, "1", False),
        (http1.chunk(b"more data2"), 10, "2", True),
    ]
    told.size = 15
    told.readers = 3
    told.count(traffic, 5.25)
    told.count(traffic, 5.5)  # nobody more
    assert (traffic.event_bytes, traffic.sse.bytes) == (3 * 15, 3 * 15)
    assert traffic.sse.deliveries == 2 * 3
    assert (sum(traffic.delays.counts), traffic.delays.sum) == (3, 0.75)
    told.uncount("2", traffic)  # one was full after the first
    assert traffic.sse.deliveries == 2 * 3 - 1
    assert traffic.event_bytes == 3 * 15 - len("more data2")
