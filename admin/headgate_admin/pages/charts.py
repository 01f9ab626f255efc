"""Charts as inline SVG: pure functions from a chart's values to markup.

Heights are fixed and widths are the page's, so a drawing that must stretch (paths) is nested in one
that must not (text, rules). Colours and widths of lines are the style sheet's, by class.

The values of every moment go along as text in `data-values` of the legend. The page's script shows
them under the pointer and says them to screen readers, and needs no formats of its own.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NamedTuple

from markupsafe import Markup

from headgate_admin.pages import paths, show
from headgate_gateway.settings.reading.units import HOUR_S

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from headgate_admin.model.overview import Chart, EventMark, Line
    from headgate_gateway.telemetry.event_journal import EventLevel

    Format = Callable[[float | None], str]
    Marks = Sequence[EventMark]

WIDTH = 1000  # of what stretches, in units of its own
HEIGHT = 96  # pixels: two rows of charts fit a screen below the tables
# Of the bars of hours: pixels, of which those of all events take most; one event can be seen.
BARS_HEIGHT, BARS_ROOM, LEAST_BAR = 48, 38, 3
_BAR = Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>')
SPARK_WIDTH, SPARK_HEIGHT = 160, 36
MOST_STEPS = 4  # of a scale, whose ticks are 3 to 5
TIME_STEPS_S = (10, 60, 300, 900, 3600, 4 * 3600, 6 * 3600, 24 * 3600)
MOST_TIMES = 4
NOTHING = 1e-9  # nothing that is measured is smaller, and floats stay far from their limits
FEW = 4  # of what is counted: a lower scale would have fractions on it
STEPS, WHOLE = (1, 2, 2.5, 5, 10), (1, 2, 5, 10)  # readers are whole
LEAST_RATE = 0.04  # the top of a scale: ticks of a lower one would round to one number
NEAR_NOW = 0.8  # of the width, also of a phone's: a time after it would run into "now"
LETTER = 0.018  # of the narrowest chart's width: what a letter of an event's label takes


class Scale(NamedTuple):
    """From values to pixels from the top: from the first tick, 0, to the last one."""

    ticks: tuple[float, ...]

    def y(self, value: float) -> float:
        """Return the y coordinate of a value; one above the scale is at the edge."""
        return round(HEIGHT * (1 - min(1.0, value / self.ticks[-1])), 1)


class Drawing(NamedTuple):
    """The parts of a chart: what stretches with the page's width, and what does not."""

    axis: Markup
    below: Markup  # the grid
    stretched: Markup
    above: Markup  # why there is nothing
    legend: Markup


def scale_from_zero(highest: float, steps: Sequence[float] = STEPS) -> Scale:
    """Return a scale to the highest value or above it, with 3 to 5 round ticks."""
    top = highest if highest > NOTHING else 1.0
    power = 10.0 ** math.floor(math.log10(top / MOST_STEPS))
    step = next(power * n for n in steps if power * n * MOST_STEPS >= top)
    ticks = (float(f"{step * n:.6g}") for n in range(math.ceil(top / step) + 1))  # 0.075, not …0001
    return Scale(tuple(ticks))


# ---------------------------------------------------------------- charts


def stacked_area(chart: Chart, label: str, marks: Marks = ()) -> Markup:
    """Draw each line on top of the ones before; the height of all is the sum."""
    totals = _totals(chart.lines)
    highest = max((total for total in totals if total is not None), default=0.0)
    scale = scale_from_zero(max(highest, LEAST_RATE), STEPS if highest > 1 else WHOLE)
    floor: list[float | None] = [None if total is None else 0.0 for total in totals]
    areas = []
    for line in chart.lines:
        roof = [
            None if low is None else low + (value or 0.0)
            for low, value in zip(floor, line.values, strict=True)
        ]
        drawn = paths.area(floor, roof, scale.y, WIDTH)
        areas.append(_drawn("area", series_class(line.name), drawn))
        floor = roof
    drawing = _on_axes(chart, scale, Markup().join(areas), show.number)
    return _figure(chart, label, marks, drawing)


def line_chart(
    chart: Chart,
    label: str,
    marks: Marks = (),
    format_value: Format = show.count,
    fewest: float = FEW,
) -> Markup:
    """Draw a line for each series, on a scale from zero to `fewest` at least.

    The scale has whole numbers if `fewest` is some.
    """
    values = [value for line in chart.lines for value in line.values if value is not None]
    scale = scale_from_zero(max([*values, fewest]), WHOLE if fewest else STEPS)
    stretched = [
        _drawn("line", css, paths.steps(line.values, scale.y, WIDTH))
        for css, line in zip(_classes(chart), chart.lines, strict=True)
    ]
    drawing = _on_axes(chart, scale, Markup().join(stretched), format_value)
    return _figure(chart, label, marks, drawing)


def hour_bars(
    hours: Mapping[float, Counter[EventLevel]], since: float, address: Callable[..., str]
) -> Markup:
    """Draw a bar for each hour by its beginning, of events by level, that leads to its address.

    The one that begins at `since` is marked.
    """
    highest = max(1, *(it.total() for it in hours.values()))
    drawn = []
    for at, (begin, counts) in enumerate(hours.items()):
        y = float(BARS_HEIGHT)
        bars = [_BAR.format("hit chosen" if begin == since else "hit", at, 0, 1, y)]
        for level, count in sorted(counts.items()):
            size = max(LEAST_BAR, round(count / highest * BARS_ROOM, 1))
            y -= size
            bars.append(_BAR.format(level, at + 0.1, y, 0.8, size))
        words = ", ".join(f"{counts[it]} {it}" for it in sorted(counts))
        link = Markup('<a href="{}"><title>{} in the hour from {}</title>{}</a>').format(
            address(**{"from": show.machine(begin), "to": show.machine(begin + HOUR_S)}),
            *(words or "no event", show.exact(begin), Markup().join(bars)),
        )
        drawn.append(link if counts else bars[0])  # where nothing was, there is nothing to see
    return Markup(
        '<svg class="bars" viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>'
        '<svg class="times" aria-hidden="true">{}</svg>'
    ).format(len(hours), BARS_HEIGHT, Markup().join(drawn), _times(min(hours), HOUR_S, len(hours)))


def spark(values: Sequence[float | None], level: str = "") -> Markup:
    """Draw a small history without axes: the trend, not the amount."""
    known = [value for value in values if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    drawn = values if len(known) > 1 else ()  # one value is no trend

    def y(value: float) -> float:
        part = 0.5 if high == low else (value - low) / (high - low)
        return round(SPARK_HEIGHT * (0.92 - 0.84 * part), 1)

    return Markup(
        '<svg class="spark" viewBox="0 0 {} {}" preserveAspectRatio="none" aria-hidden="true">'
        '<path class="line {}" d="{}"/></svg>'
    ).format(SPARK_WIDTH, SPARK_HEIGHT, level, paths.trend(drawn, y, SPARK_WIDTH))


# ---------------------------------------------------------------- the parts of a chart


def _figure(chart: Chart, label: str, marks: Marks, drawing: Drawing) -> Markup:
    count = max((len(line.values) for line in chart.lines), default=0)
    span = chart.step * max(1, count)
    shown = [(it, (it.at - chart.start) / span) for it in marks]
    shown = [(it, part) for it, part in shown if 0 <= part <= 1]
    return Markup(
        '<figure class="chart" tabindex="0" role="group" aria-roledescription="chart" '
        'aria-keyshortcuts="ArrowLeft ArrowRight Shift+ArrowLeft Shift+ArrowRight Home End Enter" '
        'aria-label="{}" data-start="{}" data-step="{}" data-count="{}" data-events="{}">'
        '<svg class="axis" aria-hidden="true">{}</svg>'
        '<svg class="plot" aria-hidden="true"><g>{}</g>'
        '<svg viewBox="0 0 {} {}" preserveAspectRatio="none">{}</svg>{}</svg>'
        '<svg class="times" aria-hidden="true">{}</svg>'
        '<ul class="legend">{}</ul></figure>'
    ).format(
        *(label, round(chart.start, 3), chart.step, count),
        json.dumps(
            [(int(part * count), show.visible(it.sentence)) for it, part in shown if part < 1]
        ),
        *(drawing.axis, drawing.below, WIDTH, HEIGHT, drawing.stretched),
        drawing.above + _marks(shown),
        *(_times(chart.start, chart.step, count), drawing.legend),
    )


def _on_axes(chart: Chart, scale: Scale, stretched: Markup, format_value: Format) -> Drawing:
    known = any(value is not None for line in chart.lines for value in line.values)
    return Drawing(
        axis=_axis((scale.y(tick), _round(format_value(tick))) for tick in scale.ticks),
        below=_grid(scale.y(tick) for tick in scale.ticks),
        stretched=stretched,
        above=Markup() if known else _empty("No data in this span yet"),
        legend=Markup().join(
            _legend_item(css, line.name, [format_value(value) for value in line.values])
            for css, line in zip(_classes(chart), chart.lines, strict=True)
        ),
    )


def _marks(marks: Iterable[tuple[EventMark, float]]) -> Markup:
    """Draw a line over the whole height at each event, with a label where there is room for it."""
    drawn, labelled_up_to = [], 0.0
    for mark, part in sorted(marks, key=lambda it: it[1]):
        line = Markup('<line class="event {0}" x1="{1:.2%}" x2="{1:.2%}" y2="{2}"/>')
        drawn.append(line.format(mark.level, part, HEIGHT))
        room = LETTER * (len(mark.label) + 2)
        is_left = part > 1 - room  # of its line, so that it ends within the chart
        if labelled_up_to <= (part - room if is_left else part):
            labelled_up_to = part if is_left else part + room
            label = Markup('<text class="event{}" x="{:.2%}" dx="{}" y="10">{}</text>')
            side = (" left", part, -4) if is_left else ("", part, 4)
            drawn.append(label.format(*side, show.visible(mark.label)))
    return Markup().join(drawn)


def _drawn(kind: str, css: str, path: str) -> Markup:
    return Markup('<path class="{} {}" d="{}"/>').format(kind, css, path)


def _classes(chart: Chart) -> list[str]:
    """Return the classes of the lines; one without any value, beside others, is not shown."""
    has_values = [any(line.values) for line in chart.lines]
    return [
        series_class(line.name, at) + (" none" if any(has_values) and not has_value else "")
        for at, (line, has_value) in enumerate(zip(chart.lines, has_values, strict=True))
    ]


def series_class(name: str, at: int = 0) -> str:
    """Return the CSS class that gives a series its colour by its name, the same on every page.

    A route has the colour of its place in the chart.
    """
    return f"s-{at}" if name.startswith("/") else "s-" + re.sub(r"[^a-z0-9]+", "-", name.lower())


def _round(text: str) -> str:
    """Return a label of a tick without a decimal that only other values need: 80 %, 2 ms."""
    return text.replace(".0 ", " ")


def _axis(labels: Iterable[tuple[float, str]]) -> Markup:
    return Markup().join(
        Markup('<text x="100%" y="{}">{}</text>').format(y + 4, text) for y, text in labels
    )


def _grid(heights: Iterable[float]) -> Markup:
    line = Markup('<line class="grid" x1="0" x2="100%" y1="{0}" y2="{0}"/>')
    return Markup().join(line.format(y) for y in heights)


def _empty(why: str) -> Markup:
    return Markup('<text class="why" x="50%" y="{}">{}</text>').format(HEIGHT // 2, why)


def _legend_item(css: str, name: str, values: Sequence[str]) -> Markup:
    now = values[-1] if values else show.UNKNOWN
    return Markup('<li class="{}" data-name="{}" data-values="{}"><i></i>{} <b>{}</b></li>').format(
        css, name, "|".join(values), name, now
    )


def _times(start: float, step: float, count: int) -> Markup:
    """Return round times of day in UTC for below a chart, and `now` for its end.

    `data-at` has the moment, for the page's script to show it in local time.
    """
    span = step * max(1, count)
    every = next((s for s in TIME_STEPS_S if span / s <= MOST_TIMES), TIME_STEPS_S[-1])
    first = math.ceil(start / every) * every
    labels = [
        Markup('<text data-at="{}" x="{}%" y="12">{}</text>').format(
            *(moment, round((moment - start) / span * 100, 2)),
            show.clock(moment)[: 8 if every < 60 else 5],
        )
        for moment in range(first, int(start + span), every)
        if (moment - start) / span < NEAR_NOW
    ]
    return Markup().join([*labels, Markup('<text class="now" x="100%" y="12">now</text>')])


def _totals(lines: Sequence[Line]) -> list[float | None]:
    """Return the sum of the lines at each moment; None where no line has a value."""
    totals: list[float | None] = []
    for values in zip(*(line.values for line in lines), strict=True):
        known = [value for value in values if value is not None]
        totals.append(sum(known) if known else None)
    return totals
