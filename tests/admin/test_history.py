from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from admin.model.kinds import POINTS, SPANS_S
from admin.record import figures
from admin.record.figures import COLUMN, WIDTH
from admin.record.history import History, Ring
from gateway.telemetry.traffic import DELIVERY_SECONDS
from tests.admin.consoles import (
    COLLAPSED,
    DELIVERY,
    LIVE_READERS,
    NOW,
    ORIGIN_REQUESTS,
    REQUESTS,
    RESULTS,
    observed,
    sample,
)

if TYPE_CHECKING:
    from admin.record.figures import Row

A, B = "/a", "/b"


def row(**numbers: float) -> list[float]:
    made = figures.empty()
    made[figures.SECONDS] = 5.0
    for name, number in numbers.items():
        made[COLUMN[name]] = number
    return made


def number(of: Row | None, name: str) -> float | None:
    return None if of is None else of[COLUMN[name]]


# ---------------------------------------------------------------- rings


@given(st.lists(st.integers(0, 3 * POINTS), max_size=40))
def test_a_ring_gives_the_same_rows_as_a_plain_table(steps: list[int]) -> None:
    ring, table = Ring(5), dict[int, float]()
    newest = -1
    for step in steps:
        newest = max(newest, step)
        if step > newest - POINTS:
            table[step] = table.get(step, 0.0) + 1
        ring.add(step * 5.0, row(requests=1))
    until = max(newest, 0)
    expected = [table.get(step) for step in range(until - POINTS + 1, until + 1)]
    assert [number(of, "requests") for of in ring.rows(until * 5.0)] == expected


def test_every_span_of_the_history_has_the_same_sum() -> None:
    kept = History([A])
    for point in range(POINTS):
        kept.add(NOW - 5 * point, {A: row(requests=3)})
    for span in SPANS_S:
        assert number(figures.summed(kept.of(A, span, NOW)), "requests") == 3 * POINTS


def test_the_row_of_an_hour_ago_is_found_in_the_history() -> None:
    kept = History([A])
    kept.add(NOW - 3600, {A: row(requests=7)})
    assert number(kept.before(A, 3600, NOW), "requests") == 7
    assert kept.before(A, 7200, NOW) is None
    assert kept.start("15m", NOW) == NOW - 179 * 5


# ---------------------------------------------------------------- figures


def test_history_rows_are_computed_from_the_metrics() -> None:
    taken = figures.take(
        [
            sample(REQUESTS, 5, A, "read", "2xx"),
            sample(REQUESTS, 2, A, "append", "2xx"),
            sample(REQUESTS, 1, A, "append", "4xx"),
            sample(REQUESTS, 3, A, "read", "5xx"),
            sample(REQUESTS, 9, "none", "other", "4xx"),
            *(sample(RESULTS, n, A, name) for n, name in enumerate(figures.CACHE_RESULTS, 1)),
            sample(ORIGIN_REQUESTS, 4, A, "2xx"),
            sample(ORIGIN_REQUESTS, 1, A, "timeout"),
            sample(ORIGIN_REQUESTS, 3, A, "refused"),
            sample(LIVE_READERS, 6, A, "sse"),
            sample(LIVE_READERS, 7, A, "long_poll"),
            observed(COLLAPSED, {1: 2, 300: 1}, A),
            observed(DELIVERY, {0.003: 4, 99: 1}, A),
        ],
        [A, B],
    )
    assert taken[B] == figures.empty()
    told = {name: taken[A][COLUMN[name]] for name in ("requests", "errors", "appends")}
    assert told == {"requests": 11, "errors": 3, "appends": 2}
    assert [taken[A][COLUMN[name]] for name in figures.CACHE_RESULTS] == [1, 2, 3, 4, 5, 6]
    origin = [taken[A][COLUMN[name]] for name in ("origin_requests", "origin_errors")]
    assert origin == [8, 1]
    assert [taken[A][COLUMN[name]] for name in ("sse", "long-poll")] == [6, 7]
    assert figures.collapse(taken[A]) == pytest.approx(302 / 3)
    assert figures.most_collapsed(taken[A]) == 500
    counts = figures.delivery_counts(taken[A])
    assert counts is not None
    assert (counts[3], counts[-1], sum(counts)) == (4, 1, 5)


def test_a_counter_that_falls_is_counted_as_restarted() -> None:
    before, now = row(requests=100, errors=5), row(requests=7, errors=6, sse=3)
    between = figures.between(before, now, 2.0)
    assert (number(between, "requests"), number(between, "errors")) == (7, 1)
    assert figures.rate(between, "sse") == 3


def test_the_hit_ratio_counts_reads_served_without_the_origin() -> None:
    served = row(hit=6, collapsed=2, stale=1, revalidated=3, miss=4, bypass=4)
    assert figures.without_origin(served) == 0.45
    assert figures.without_origin(row()) is None
    assert figures.result_rate(served, "miss") == pytest.approx(8 / 5)


@pytest.mark.parametrize(
    ("seen", "quantile"),
    [
        ({}, None),
        ({0.0004: 100}, 0.000495),
        ({0.3: 100}, 0.4975),
        ({0.0004: 99, 3: 1}, 0.0005),
        ({0.0004: 98, 3: 2}, 3.75),
        ({50: 1}, 10.0),
    ],
)
def test_p99_is_interpolated_from_buckets_as_prometheus_does(
    seen: dict[float, int], quantile: float | None
) -> None:
    taken = figures.take([observed(DELIVERY, seen, A)], [A])[A]
    assert figures.delivery_quantile(taken, 0.99) == pytest.approx(quantile)


@given(st.lists(st.integers(0, 1000), min_size=WIDTH, max_size=WIDTH))
def test_a_delivery_quantile_lies_within_the_buckets(numbers: list[int]) -> None:
    quantile = figures.delivery_quantile([float(number) for number in numbers], 0.5)
    assert quantile is None or 0 < quantile <= DELIVERY_SECONDS[-1]


def test_a_collapse_beyond_all_buckets_is_shown_as_the_last_bound() -> None:
    taken = figures.take([observed(COLLAPSED, {1_000_000: 1}, A)], [A])[A]
    assert figures.most_collapsed(taken) == 10_000


def test_rates_of_several_routes_are_summed_over_their_seconds() -> None:
    both = figures.together([row(requests=1, sse=5), None, row(requests=2, sse=10)])
    assert (figures.rate(both, "requests"), figures.readers(both)) == (0.6, 3)
    assert figures.together([None]) is None
