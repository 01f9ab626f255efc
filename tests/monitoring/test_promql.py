"""The console evaluates the rules of Prometheus on its own looks, and fires in the same cases."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate_admin.alerting.active_alerts import ActiveAlerts
from headgate_gateway.background import at_once
from headgate_gateway.monitoring.promql import NotMeasuredError, compiled
from headgate_gateway.monitoring.quantities import seconds
from headgate_gateway.monitoring.series_history import POINTS, Selection, SeriesHistory
from headgate_gateway.telemetry.metrics import (
    Distribution,
    Metric,
    Sample,
    counter,
    gauge,
    histogram,
)
from tests.monitoring.configurations import EVERYTHING, WORKERS
from tests.monitoring.test_alerts import CASES, Case

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from headgate_gateway.settings import Settings

# What only Prometheus has a series of.
OUTSIDE = {"HeadgateDown"}
_RUN = re.compile(r"(-?[\d.e+]+?)(?:([+-][\d.e+]+))?(?:x(\d+))?")


def numbers(notation: str) -> list[float]:
    """Return the values of a series, one after another, from the notation of promtool."""
    found: list[float] = []
    for word in notation.split():
        run = _RUN.fullmatch(word)
        assert run is not None, word
        first, more, times = run.groups()
        found += [float(first) + float(more or 0) * step for step in range(int(times or 0) + 1)]
    return found


def scrapes(series: Mapping[str, str]) -> Iterator[list[Sample]]:
    """Yield what a gateway measures, from look to look, of series that promtool plays."""
    rows = []
    for written, notation in series.items():
        name, _, within = written.partition("{")
        if 'instance="a:1"' in within:  # else those of another target
            labels = dict(re.findall(r'(\w+)="([^"]*)"', within))
            of = {it: value for it, value in labels.items() if it not in {"job", "instance"}}
            rows.append((Metric(name, "gauge", "", (*of,)), (*of.values(),), numbers(notation)))
    for look in range(min(len(values) for _, _, values in rows)):
        yield [Sample(metric, labels, values[look]) for metric, labels, values in rows]


def fires_at(case: Case, series: Mapping[str, str]) -> list[float]:
    """Return the minutes at which the console has the alert of a case as firing."""
    console = ActiveAlerts(case.settings)
    found = []
    for look, samples in enumerate(scrapes(series)):
        minute = look * seconds(case.interval) / 60
        if minute > case.minute + 6 * case.every:
            break
        at_once(console.look(60.0 * minute, samples))
        if any(it.rule.name == case.name and it.is_firing for it in console.active):
            found.append(minute)
    return found


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(it, id=f"{it.name}-{number}")
        for number, it in enumerate(CASES)
        if it.name not in OUTSIDE
    ],
)
def test_the_console_fires_where_prometheus_does(case: Case) -> None:
    firing = fires_at(case, case.series)
    assert case.minute - case.every < firing[0] <= case.minute
    assert fires_at(case, case.quiet) == []


@pytest.mark.parametrize("settings", [EVERYTHING, WORKERS], ids=["everything", "workers"])
def test_the_console_leaves_to_prometheus_only_whether_a_gateway_can_be_scraped(
    settings: Settings,
) -> None:
    assert {rule.name for rule in ActiveAlerts(settings).unwatched} == OUTSIDE


RESULTS = counter("headgate_purges_total", "", "cache", "result")
FREE = gauge("headgate_free_bytes", "", "route")
TIMES = histogram("headgate_times", "", "route", bounds=(0.5, 1.0))
LOOK_S = 5.0
Look = list[Sample]


def purges(*counts: float) -> Look:
    """Return the purges of a cache that failed, and those that were abandoned."""
    results = ("failed", "abandoned")
    return [Sample(RESULTS, ("c", of), it) for of, it in zip(results, counts, strict=False)]


def times(*counts: int) -> Look:
    return [Sample(TIMES, ("/r",), distribution=Distribution(counts, 0.25 * sum(counts)))]


def free(*numbers: float) -> Look:
    routes = ("/a", "/b")
    return [Sample(FREE, (route,), it) for route, it in zip(routes, numbers, strict=False)]


def after(looks: list[Look], expression: str, every_s: float = LOOK_S) -> dict[str, float] | float:
    """Return what an expression is at the last of these looks, by the values of its labels."""
    history = SeriesHistory()
    evaluate = compiled(expression, {}, history)
    for number, samples in enumerate(looks):
        at_once(history.look(1000 + every_s * number, samples))
    result = evaluate()
    if not isinstance(result, dict):
        return result
    return {" ".join(value for _, value in labels): it for labels, it in result.items()}


GROWTH = 'sum by (job, cache) (increase(headgate_purges_total{result=~"failed|abandoned"}[5m]))'


@pytest.mark.parametrize(
    ("looks", "growth"),
    [
        pytest.param([purges(7, 7)], 0.0, id="of-one-look-nothing-is-known"),
        pytest.param([purges(7, 7), purges(10, 9)], 5.0, id="series-add-up"),
        pytest.param([purges(7, 0), purges(2, 0)], 2.0, id="a-counter-was-reset"),
        pytest.param([purges(7), purges(7, 3)], 3.0, id="a-series-came"),
        pytest.param([purges(7), purges(9), *[purges(9)] * 59], 2.0, id="within-five-minutes"),
        pytest.param([purges(7), purges(9), *[purges(9)] * 60], 0.0, id="before-five-minutes"),
    ],
)
def test_an_increase_is_the_growth_of_the_window(looks: list[Look], growth: float) -> None:
    assert after(looks, GROWTH) == {"c": growth}


IN_A_MINUTE = "predict_linear(headgate_free_bytes[5m], 60)"
HAS_TIMES = "headgate_free_bytes and on (job) headgate_times_count"
VALUES: dict[str, tuple[str, list[Look], dict[str, float] | float]] = {
    "each operator binds as in arithmetic": ("2 + 3 * 4 - 6 / (1 + 2)", [[]], 12.0),
    "the time is that of the look": ("time() - 2", [[], []], 1003.0),
    "a matcher": ('headgate_free_bytes{route="/a"} / 2', [free(6, 8)], {"/a": 3.0}),
    "a matcher is no pattern": ('headgate_free_bytes{route="/."}', [free(6, 8)], {}),
    "a pattern": ('headgate_free_bytes{route=~"/."} > 6', [free(6, 8)], {"/b": 8.0}),
    "a series that is gone": ("headgate_free_bytes", [free(6, 8), free(6)], {"/a": 6.0}),
    "none of none": ("headgate_free_bytes / headgate_free_bytes > 0", [free(0, 8)], {"/b": 1.0}),
    "some of none": ("1 / headgate_free_bytes > 99", [free(0, 8)], {"/a": float("inf")}),
    "or": ("headgate_free_bytes < 7 or headgate_free_bytes > 1", [free(6, 8)], {"/b": 8, "/a": 6}),
    "unless": ("headgate_free_bytes unless headgate_free_bytes > 6", [free(6, 8)], {"/a": 6.0}),
    "on labels without the other": (HAS_TIMES, [free(6)], {}),
    "on labels": (HAS_TIMES, [free(6) + times(0, 0, 1)], {"/a": 6.0}),
    "the largest": ("max by (job) (headgate_free_bytes)", [free(6, 8)], {"": 8.0}),
    "an offset before all data": ("headgate_free_bytes offset 5m", [free(6), *[free(1)] * 59], {}),
    "an offset": ("headgate_free_bytes offset 5m", [free(6), *[free(1)] * 60], {"/a": 6.0}),
    "a line through one point": (IN_A_MINUTE, [free(8)], {}),
    "a line of a series that has just come": (IN_A_MINUTE, [free(8), free(8, 9)], {}),
    "a line": (IN_A_MINUTE, [free(900 - 5 * look) for look in range(13)], {"/a": 780.0}),
    "a median": (
        "histogram_quantile(0.5, sum by (job, le) (rate(headgate_times_bucket[5m])))",
        [times(9, 0, 0), times(10, 1, 0)],
        {"": 0.5},
    ),
    "a mean": (
        "rate(headgate_times_sum[5m]) / rate(headgate_times_count[5m])",
        [times(0, 0, 0), times(1, 2, 3)],
        {"/r": 0.25},
    ),
}


@pytest.mark.parametrize("name", VALUES)
def test_an_expression_has_the_value_that_prometheus_gives_it(name: str) -> None:
    expression, looks, value = VALUES[name]
    assert after(looks, expression) == pytest.approx(value)


def test_a_clock_that_is_set_back_forgets_the_moments_that_are_to_come() -> None:
    history = SeriesHistory()
    growth = compiled(GROWTH, {}, history)
    for now, count in ((1000.0, 0), (1005.0, 4), (500.0, 5), (505.0, 7)):
        at_once(history.look(now, purges(count)))
    assert growth() == {(("cache", "c"),): 2.0}


def test_a_reload_keeps_the_windows_that_its_rules_look_back_on() -> None:
    former = SeriesHistory()
    compiled(GROWTH, {}, former)
    for now, count in ((1000.0, 0), (1005.0, 4)):
        at_once(former.look(now, purges(count)))
    history = SeriesHistory(former)
    growth = compiled(GROWTH, {}, history)
    at_once(history.look(1010.0, purges(6)))
    assert growth() == {(("cache", "c"),): 6.0}


def test_a_window_has_no_more_than_its_most_points() -> None:
    history = SeriesHistory()
    window = history.window(Selection(RESULTS.name), LOOK_S * POINTS, grows=True)
    for number in range(3 * POINTS):
        at_once(history.look(LOOK_S * number, purges(number)))
    assert len(window.points) == POINTS + 1  # the first is where the window began


@pytest.mark.parametrize("text", ["rate(up[5m])", "up == 0", "sum by (job) (up)"])
def test_a_series_that_only_prometheus_has_is_named(text: str) -> None:
    with pytest.raises(NotMeasuredError, match="up"):
        compiled(text, {}, SeriesHistory())


@pytest.mark.parametrize(
    "text",
    ["absent(headgate_a)", "headgate_a ! 1", "(headgate_a", "headgate_a 1", "sum(headgate_a)"],
)
def test_an_expression_beyond_the_part_of_promql_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="in "):
        compiled(text, {}, SeriesHistory())
