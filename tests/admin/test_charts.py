from __future__ import annotations

import itertools
import json
import re
from xml.etree import ElementTree

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate_admin.model.overview import Chart, EventMark, Line
from headgate_admin.pages import charts, show
from headgate_admin.pages.charts import HEIGHT, WIDTH
from headgate_admin.pages.rendering import FILTERS, duration_chart

VALUES = st.lists(st.none() | st.floats(min_value=0, max_value=1e12), min_size=1, max_size=40)
HOSTILE = '"><script>alert(1)</script>'


def chart(**lines: list[float | None]) -> Chart:
    return Chart(1_772_366_400, 5, tuple(Line(name, tuple(v)) for name, v in lines.items()))


def drawn(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(markup)


def paths(markup: str) -> list[str]:
    return [path.attrib["d"] for path in drawn(markup).iter("path")]


def texts(markup: str) -> list[str]:
    return [text.text or "" for text in drawn(markup).iter("text")]


def points(path: str) -> list[tuple[float, float]]:
    """The corners of a path, which may say one coordinate where the other stays."""
    x = y = 0.0
    corners = []
    for command, values in re.findall(r"([MLHV])([\d.,]+)", path):
        numbers = [float(number) for number in values.split(",")]
        x = numbers[0] if command != "V" else x
        y = numbers[-1] if command != "H" else y
        corners.append((x, y))
    return corners


@given(VALUES)
def test_every_point_of_a_chart_lies_within_its_area(values: list[float | None]) -> None:
    for markup in (
        charts.line_chart(chart(readers=values), "Readers"),
        charts.stacked_area(chart(hit=values, miss=values), "Requests"),
        charts.spark(values),
    ):
        for path in paths(markup):
            assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points(path))


@given(VALUES)
@example([5e-324])  # the smallest float there is
def test_missing_values_are_gaps_in_the_line_of_a_chart(values: list[float | None]) -> None:
    (path,) = paths(charts.line_chart(chart(readers=values), "Readers"))
    known = "".join("x" if value is not None else " " for value in values).split()
    runs = [points(f"M{run}") for run in path.split("M")[1:]]
    widths = [run[-1][0] - run[0][0] for run in runs]
    assert widths == pytest.approx([len(run) * WIDTH / len(values) for run in known], abs=0.11)


def test_a_rate_is_drawn_as_steps_over_the_whole_width_of_its_chart() -> None:
    (path,) = paths(charts.line_chart(chart(readers=[10, 20, 20, 5]), "Readers"))
    assert [x for x, _ in points(path)] == [0, 250, 250, 750, 750, 1000]
    heights = [y for _, y in points(path)]
    assert heights[0] == heights[1] > heights[2] == heights[3] < heights[4] == heights[5]


def test_stacked_areas_share_their_edge() -> None:
    lower, upper = paths(charts.stacked_area(chart(hit=[1, 2], miss=[3, 1]), "Requests"))
    roof, floor = points(lower)[:4], points(upper)[4:]
    assert roof == floor[::-1]


@pytest.mark.parametrize(
    ("highest", "ticks"),
    [
        pytest.param(0, [0, 0.25, 0.5, 0.75, 1.0], id="nothing"),
        pytest.param(9_600, [0, 2_500, 5_000, 7_500, 10_000], id="thousands"),
        (3, [0, 1, 2, 3]),
        (0.0142, [0, 0.005, 0.01, 0.015]),
    ],
)
def test_chart_scales_have_round_ticks(highest: float, ticks: list[float]) -> None:
    assert charts.scale_from_zero(highest).ticks == pytest.approx(ticks)


@given(st.floats(min_value=1e-9, max_value=1e15))
def test_a_chart_scale_covers_its_highest_value_with_3_to_5_ticks(highest: float) -> None:
    for steps in (charts.STEPS, charts.WHOLE):
        ticks = charts.scale_from_zero(highest, steps).ticks
        assert (ticks[-1] >= highest * (1 - 1e-5), 3 <= len(ticks) <= 5) == (True, True)


def test_the_newest_value_is_shown_in_the_legend_which_has_all_others() -> None:
    (item,) = drawn(charts.line_chart(chart(sse=[5, 31_904]), "Readers")).iter("li")
    assert ("".join(item.itertext()), item.attrib["data-values"]) == ("sse 31,904", "5|31,904")


def test_a_series_without_a_value_beside_others_is_not_shown() -> None:
    for lines, shown in (
        ({"sse": [1.0, 0.0], "long-poll": [0.0, None]}, ["sse"]),
        ({"sse": [0.0], "long-poll": [0.0]}, ["sse", "long-poll"]),
    ):
        root = drawn(charts.line_chart(chart(**lines), "Readers"))
        found = [it.attrib["class"] for it in root.iter() if it.tag in {"li", "path"}]
        assert len(found) == 4
        for name in lines:
            assert [it for it in found if f"s-{name}" in it and "none" not in it] == (
                [f"line s-{name}", f"s-{name}"] if name in shown else []
            )


def test_routes_in_a_chart_have_the_colours_of_their_places() -> None:
    lines = (Line("/v1/orders", (1.0,)), Line("/v1/chats", (2.0,)))
    root = drawn(duration_chart(Chart(0, 5, lines), "x"))
    assert [it.attrib["class"] for it in root.iter("li")] == ["s-0", "s-1"]


def test_a_chart_without_data_shows_a_sentence_instead() -> None:
    for markup, why in (
        (charts.line_chart(chart(sse=[None]), "Readers"), "No data in this span"),
        (charts.stacked_area(chart(), "Requests"), "No data in this span"),
    ):
        assert any(text.startswith(why) for text in texts(markup))


@pytest.mark.parametrize(
    ("values", "labels"),
    [(180, ["12:00", "12:05", "12:10"]), (6, ["12:00:00", "12:00:10", "12:00:20"])],
)
def test_the_time_axis_of_a_chart_shows_round_times_in_utc(values: int, labels: list[str]) -> None:
    markup = charts.line_chart(chart(sse=[1.0] * values), "Readers")
    assert texts(markup)[-len(labels) - 1 :] == [*labels, "now"]


@pytest.mark.parametrize("highest", [0, 1, 4, 6, 10, 12, 99, 48_210])
def test_the_axis_of_counts_has_evenly_spaced_whole_numbers(highest: int) -> None:
    values = Line("SSE", (float(highest),))
    drawn = charts.line_chart(Chart(0.0, 5.0, (values,)), "Readers")
    axis = re.findall(r'<text x="100%" y="[^"]*">([\d,]+)</text>', str(drawn))
    numbers = [int(label.replace(",", "")) for label in axis]
    steps = {after - before for before, after in itertools.pairwise(numbers)}
    assert len(numbers) >= 2
    assert len(steps) == 1, numbers


def test_events_within_the_span_are_lines_over_the_height_with_their_sentences() -> None:
    start = 1_772_366_400
    marks = tuple(EventMark(start + at, "bad", HOSTILE, HOSTILE[:10]) for at in (-1, 0, 5, 10, 11))
    marked = Chart(start, 5, (Line("hit", (1.0, 2.0)),))
    for figure in (charts.stacked_area(marked, "x", marks), charts.line_chart(marked, "x", marks)):
        root = drawn(figure)
        lines = [it for it in root.iter("line") if it.attrib["class"] == "event bad"]
        assert [it.attrib["x1"] for it in lines] == ["0.00%", "50.00%", "100.00%"]
        labels = [it for it in root.iter("text") if it.attrib.get("class") == "event"]
        assert [(it.attrib["x"], it.text) for it in labels] == [
            (x, show.visible(HOSTILE[:10])) for x in ("0.00%", "50.00%")
        ]
        (told,) = [it.attrib["data-events"] for it in root.iter() if "data-events" in it.attrib]
        assert json.loads(told) == [[at, show.visible(HOSTILE)] for at in (0, 1)]


def test_labels_of_events_do_not_run_into_each_other_or_over_the_edge() -> None:
    """A label is as wide as its letters: a long one needs more room than a short one."""
    for label, fewest in (("reload", 4), ("certificate is refused", 2)):
        marks = tuple(EventMark(at, "good", label, label) for at in (0, 30, 32, 60, 99))
        marked = Chart(0, 1, (Line("hit", (1.0,) * 100),))
        root = drawn(charts.line_chart(marked, "x", marks))
        lefts, width = [], len(label) * charts.LETTER
        for it in root.iter("text"):
            if it.attrib.get("class", "").startswith("event"):
                x = float(it.attrib["x"].rstrip("%")) / 100
                lefts.append(x - width if "left" in it.attrib["class"] else x)
        assert len(lefts) >= fewest
        assert all(0 <= left <= 1 - width for left in lefts)
        assert all(after - before >= width for before, after in itertools.pairwise(lefts))


def test_ticks_have_no_decimals_that_round_values_do_not_need() -> None:
    figure = duration_chart(Chart(0, 5, (Line("p99", (0.094, 0.02)),)), "x")
    assert [it.text for it in drawn(figure)[0]] == ["0 s", "25 ms", "50 ms", "75 ms", "100 ms"]


@pytest.mark.parametrize("highest", [0.0, 0.002, 0.02, 0.05, 0.07, 0.1, 0.3, 0.99, 1.5])
@pytest.mark.parametrize("kind", ["stacked_area", "rate_chart"])
def test_ticks_of_low_rates_differ_and_are_evenly_spaced(kind: str, highest: float) -> None:
    figure = FILTERS[kind](Chart(0, 5, (Line("appends", (highest, 0.0)),)), "x")
    ticks = [float(it.text or "") for it in drawn(figure)[0]]
    steps = {round(after - before, 4) for before, after in itertools.pairwise(ticks)}
    assert len(ticks) >= 3
    assert len(steps) == 1, ticks
    assert 0 not in steps


def test_a_small_history_of_one_value_draws_nothing() -> None:
    assert paths(charts.spark([None, 3.0, None])) == [""]
