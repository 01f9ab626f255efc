from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_admin.model.kinds import POINTS, SPANS_S
from headgate_admin.record import figures
from headgate_admin.record.figures import COLUMN, WIDTH
from headgate_admin.record.history import History, Ring
from headgate_gateway.telemetry.traffic import DELIVERY_SECONDS
from tests.admin.consoles import COLLAPSED, DELIVERY, NOW, REQUESTS, observed, sample

if TYPE_CHECKING:
    from headgate_admin.record.figures import Row
    from headgate_gateway.telemetry.metrics import Sample

A, B = "/a", "/b"


def row(**numbers: float) -> list[float]:
    return [5.0, *figures.totals(numbers)[1:]]


def requests(of: Row | None) -> float | None:
    return None if of is None else of[COLUMN["requests"]]


# ---------------------------------------------------------------- rings


@given(st.lists(st.integers(0, 3 * POINTS), max_size=40))
def test_a_ring_gives_the_same_rows_as_a_plain_table(steps: list[int]) -> None:
    """What is after a row was recorded before the clock was set back."""
    ring, table = Ring(5), dict[int, float]()
    until = 0
    for until in steps:
        table[until] = table.get(until, 0.0) + 1
        table = {at: count for at, count in table.items() if until - POINTS < at <= until}
        ring.add(until * 5.0, row(requests=1))
    expected = [table.get(step) for step in range(until - POINTS + 1, until + 1)]
    assert [requests(of) for of in ring.rows(until * 5.0)] == expected


def test_every_span_of_the_history_has_the_same_sum() -> None:
    kept = History([A])
    for point in reversed(range(POINTS)):
        kept.add(NOW - 5 * point, {A: row(requests=3)})
    for span in SPANS_S:
        assert requests(figures.summed(kept.of(A, span, NOW))) == 3 * POINTS


# ---------------------------------------------------------------- figures


def seen(of: Sample) -> Row:
    return figures.take([of, sample(REQUESTS, 9, "none", "other", "4xx")], [A])[A]


def delivered(late_s: dict[float, int]) -> Row:
    return seen(observed(DELIVERY, late_s, A))


READ = row(hit=6, collapsed=2, stale=1, revalidated=3, miss=4, bypass=4, read_errors=3)
SHARED = seen(observed(COLLAPSED, {1: 2, 300: 1}, A))
P99 = figures.DELIVERIES.quantile(0.99)  # interpolated as Prometheus does


FIGURES = {
    "a hit ratio": (figures.without_origin, READ, 0.45),
    "no hit ratio": (figures.without_origin, row(), None),
    "misses": (figures.result_rate("miss"), READ, 1.0),
    "failed reads": (figures.result_rate("error"), READ, 0.6),
    "readers of a response": (figures.collapse, SHARED, 302 / 3),
    "a share of requests": (figures.share("errors"), row(requests=8, errors=2), 0.25),
    "no share of no requests": (figures.share("errors"), row(), None),
    "no p99": (P99, row(), None),
    "p99 of the first bucket": (P99, delivered({0.0004: 100}), 0.000495),
    "p99 of another bucket": (P99, delivered({0.3: 100}), 0.4975),
    "p99 below the slowest": (P99, delivered({0.0004: 99, 3: 1}), 0.0005),
    "p99 of the slowest": (P99, delivered({0.0004: 98, 3: 2}), 3.75),
    "p99 beyond all buckets": (P99, delivered({50: 1}), 10.0),
}


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_is_computed_from_what_was_counted(name: str) -> None:
    figure, counted, expected = FIGURES[name]
    assert figure(counted) == pytest.approx(expected)


@given(st.lists(st.integers(0, 1000), min_size=WIDTH, max_size=WIDTH))
def test_a_delivery_quantile_lies_within_the_buckets(numbers: list[int]) -> None:
    quantile = P99([float(number) for number in numbers])
    assert quantile is None or 0 < quantile <= DELIVERY_SECONDS[-1]


def test_a_counter_that_falls_is_counted_as_restarted() -> None:
    before, now = row(requests=100, errors=5), row(requests=7, errors=6, sse=3)
    between = figures.between(before, now, 2.0)
    assert (requests(between), between[COLUMN["errors"]]) == (7, 1)
    assert figures.rate("sse")(between) == 3


def test_rates_of_several_routes_are_summed_over_their_seconds() -> None:
    both = figures.together([row(requests=1, sse=5), None, row(requests=2, sse=10)])
    assert both is not None
    assert (figures.rate("requests")(both), figures.rate("sse", "long-poll")(both)) == (0.6, 3)
    assert figures.together([None]) is None
