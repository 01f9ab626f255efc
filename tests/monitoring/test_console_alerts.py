"""The console's alerts and those of Prometheus are the same, scrape by scrape."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

import pytest

from admin.alerting.evaluation import Evaluation
from admin.alerting.evaluator import AlertEvaluator
from admin.alerting.sentences import filled
from admin.alerting.series import DROPPED_EVERY, TIERS, SampleHistory
from gateway.monitoring.alerts import alerts
from gateway.monitoring.quantities import Increase
from gateway.telemetry.metrics import Sample, counter
from tests.monitoring.configurations import EVERYTHING, WORKERS
from tests.monitoring.judged import OF_OUTSIDE, TARGET, Judged, Scrapes, evaluated, judge, values
from tests.monitoring.test_alerts import CASES, Case
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from pathlib import Path

    from gateway.settings import Settings


def length(series: dict[str, str]) -> int:
    return min(len(values(notation)) for notation in series.values())


def of_case(case: Case, series: dict[str, str]) -> Judged:
    steps = min(case.minute + 6 * case.every, length(series))
    return Judged(case.name, series, case.settings, 60, steps)


# Days in steps of minutes take minutes: what needs them is played in Prometheus alone.
LONGEST_MIN = 500


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
@pytest.mark.parametrize("settings", [EVERYTHING, WORKERS], ids=["everything", "workers"])
def test_the_console_has_the_alerts_of_prometheus_in_every_case(
    settings: Settings, tmp_path: Path
) -> None:
    cases = [
        case
        for case in CASES
        if case.settings is settings and case.name not in OF_OUTSIDE and case.minute <= LONGEST_MIN
    ]
    assert cases
    histories = [of_case(case, it) for case in cases for it in (case.series, case.quiet)]
    judge(*histories, folder=tmp_path)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(it, id=f"{it.name}-{number}")
        for number, it in enumerate(CASES)
        if it.name not in OF_OUTSIDE
    ],
)
def test_the_console_fills_in_the_summary_of_an_alert_as_prometheus_does(case: Case) -> None:
    evaluator = AlertEvaluator(case.settings)
    scrapes = Scrapes(case.series)
    for minute in range(case.minute + 1):
        for _ in evaluator.evaluate(60.0 * minute, scrapes.at(minute) or ()):
            pass
    told = [
        filled(alert.rule.summary, dict(alert.labels) | TARGET, alert.value)
        for alert in evaluator.states.active.values()
        if alert.rule.name == case.name and alert.firing_at is not None
    ]
    assert told == [case.summary]


R, S = (f'job="headgate", instance="a:1", route="{route}"' for route in ("/r", "/s"))
REQUESTS = "headgate_requests_total"


def requests(labels: str, failed: str, served: str, operation: str = "read") -> dict[str, str]:
    return {
        f'{REQUESTS}{{{labels}, operation="{operation}", status="5xx"}}': failed,
        f'{REQUESTS}{{{labels}, operation="{operation}", status="2xx"}}': served,
    }


EDGES: dict[str, dict[str, str]] = {
    "exactly-the-threshold": requests(R, "0+5x90", "0+95x90"),
    "one-above-the-threshold": requests(R, "0+51x90", "0+949x90"),
    "a-restart": requests(R, "0+6x20 0+6x60", "0+94x20 0+94x60"),
    "a-restart-of-one-counter": requests(R, "0+9x20 3+6x60", "0+94x80"),
    "a-gap": requests(R, "0+6x20 _x3 126+6x60", "0+94x20 _x3 1974+94x60"),
    "a-late-series": requests(R, "_x10 1 3x60", "0x80")
    | requests(R, "_x13 7 10x60", "0+3x80", "append"),
    "a-late-route": requests(R, "0+6x80", "0+94x80") | requests(S, "_x30 0+9x50", "_x30 0+20x50"),
    "a-series-that-ends": requests(R, "0+6x40 stale", "0+94x80"),
    "a-gauge-that-comes-and-goes": {
        f"headgate_storage_up{{{R}}}": "0x3 1x3 0x10 stale _x9 0x16",
        f"headgate_storage_up{{{S}}}": "1x5 0x40",
    },
    "a-gap-of-a-gauge": {f"headgate_storage_free_bytes{{{R}}}": "100x10 _x4 100x40"},
    "a-long-gap-of-a-gauge": {f"headgate_storage_free_bytes{{{R}}}": "100x10 _x8 100x40"},
    "two-routes-of-a-redis": {
        f'headgate_storage_histories_total{{{R}, lost="unknown"}}': "0x5 1x80",
        f'headgate_storage_histories_total{{{R}, lost="no"}}': "0x20 1x80",
        f'headgate_storage_histories_total{{{S}, lost="unknown"}}': "_x9 0x5 1x80",
        f'headgate_storage_histories_total{{{S}, lost="yes"}}': "0x50 2x80",
    },
    "a-full-disk": {
        f"headgate_storage_free_bytes{{{R}}}": "1073741825-1x4 1073741824x5 1073741823x30"
    },
}


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("interval_s", [5, 60])  # 15 s are those of changing troubles
def test_the_console_has_the_alerts_of_prometheus_at_edges(interval_s: int, tmp_path: Path) -> None:
    histories = [
        Judged(edge, series, EVERYTHING, interval_s, length(series))
        for edge, series in EDGES.items()
    ]
    judge(*histories, folder=tmp_path)


def made_up(random: Random) -> dict[str, str]:
    """Return the counters of two routes whose troubles come and go, with restarts."""
    found = {}
    restarts = set(random.sample(range(20, 220), 2))
    for labels in (R, S):
        for operation, status in product(("read", "append"), ("2xx", "4xx", "5xx")):
            name = f'{REQUESTS}{{{labels}, operation="{operation}", status="{status}"}}'
            found[name] = walk(random, restarts, most=3 if status == "5xx" else 40)
        for result in ("hit", "collapsed", "miss"):
            name = f'headgate_cache_results_total{{{labels}, result="{result}"}}'
            found[name] = walk(random, restarts, most=30)
        for result in ("2xx", "timeout"):
            name = f'headgate_origin_requests_total{{{labels}, result="{result}"}}'
            found[name] = walk(random, restarts, most=20 if result == "2xx" else 2)
        for result in ("stored", "failed"):
            name = f'headgate_appends_total{{{labels}, result="{result}"}}'
            found[name] = walk(random, restarts, most=40 if result == "stored" else 1)
    return found


def walk(random: Random, restarts: set[int], most: int) -> str:
    """Return a counter that grows at a pace that changes, and may appear late."""
    late = random.choice((0, 0, random.randrange(60)))
    number, pace, numbers = 0, 0, []
    for step in range(240):
        if not step % 40:
            pace = random.choice((0, most // 3, most))
        number = (0 if step in restarts else number) + random.randint(0, pace)
        numbers.append("_" if step < late else str(number))
    return " ".join(numbers)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)
def test_the_console_has_the_alerts_of_prometheus_over_an_hour_of_changing_troubles(
    tmp_path: Path,
) -> None:
    histories = [
        Judged(f"seed {seed}", made_up(Random(seed)), EVERYTHING, 15, 240)
        for seed in range(4 if IS_WHOLE else 2)
    ]
    states = {series for it in evaluated(histories[0]) for series in it or ()}
    assert {"firing" in series for series in states} == {True, False}
    judge(*histories, folder=tmp_path)


def test_a_clock_that_is_set_back_begins_the_windows_anew() -> None:
    evaluator = AlertEvaluator(EVERYTHING)
    scrapes = Scrapes(requests(R, "0+60x40", "0+40x40"))

    def look(at: float, step: int) -> set[str]:
        for _ in evaluator.evaluate(at, scrapes.at(step) or ()):
            pass
        return {alert.rule.name for alert in evaluator.states.active.values()}

    found = [look(10_000.0 + 5 * step, step) for step in range(20)]
    assert "HeadgateServerErrors" in found[-1]
    assert look(5_000.0, 20) == set()  # a single sample tells of no growth
    assert "HeadgateServerErrors" in look(5_005.0, 21)


def test_the_growth_of_each_series_is_apart_without_labels_to_add_up_by() -> None:
    history = SampleHistory()
    requests_total = counter("m", "", "route")
    history.need({"m": frozenset({300})})
    for at in (0.0, 60.0):
        samples = [Sample(requests_total, (route,), at) for route in ("/a", "/b")]
        for _ in history.add(at, samples):
            pass
    evaluation = Evaluation(history)
    assert evaluation.values(Increase("m")).keys() == {(("route", "/a"),), (("route", "/b"),)}
    assert evaluation.values(Increase("m", "job")).keys() == {()}


def test_a_reload_between_two_steps_of_a_look_counts_from_the_next_look_on() -> None:
    evaluator = AlertEvaluator(EVERYTHING)
    scrapes = Scrapes({f"headgate_storage_free_bytes{{{R}}}": "1x9"})
    steps = evaluator.evaluate(0.0, scrapes.at(0) or ())
    next(steps)
    evaluator.use_settings(WORKERS)
    for _ in steps:
        pass
    assert evaluator.values["HeadgateDiskNearlyFull"] == {(("route", "/r"),): 1.0}
    for _ in evaluator.evaluate(5.0, scrapes.at(1) or ()):
        pass
    assert evaluator.values.keys() == {rule.name for rule in alerts(WORKERS)}
    assert "HeadgateDiskNearlyFull" not in evaluator.values


def test_the_memory_of_a_series_does_not_grow_with_its_samples() -> None:
    history = SampleHistory()
    history.need({"m": frozenset(tier.span_s for tier in TIERS)})
    total = counter("m", "", "route")

    def look(at: float, *samples: Sample) -> None:
        for _ in history.add(at, samples):
            pass

    for step in range(2000):
        look(300.0 * step, Sample(total, ("/r",), step))
    (series,) = history.metrics["m"].series.values()
    rings = [ring for ring in series.rings if ring is not None]
    assert (len(rings), max(len(ring.numbers) for ring in rings)) == (len(TIERS), 182)
    for step in range(2 * DROPPED_EVERY):  # without the series, when no window has it any more
        look(300.0 * (2000 + step) + 4 * 86_400)
    assert history.metrics["m"].series == {}
