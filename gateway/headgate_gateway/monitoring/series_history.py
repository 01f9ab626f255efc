"""The series that a gateway measures of itself, and how they were in the windows of rules."""

from __future__ import annotations

import re
from array import array
from collections import deque
from itertools import zip_longest
from math import isnan, nan
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator

    from headgate_gateway.telemetry.metrics import Sample

Labels: TypeAlias = tuple[tuple[str, str], ...]  # sorted by name
Values: TypeAlias = dict[Labels, float]
Series: TypeAlias = dict[str, Values]  # by the name of the metric
# Moments of a window: of five minutes or less, each look, and of three days one in 40 min.
# With 8 bytes a moment, all windows of a route take some 15 kB.
POINTS = 100
LATE_S = 1.0  # a look may be so late; the window has no more looks then than it would have had
PREDICTED_FROM = 4  # every fourth of them: a straight line needs no more


def series_of(samples: Iterable[Sample], names: Collection[str]) -> Generator[None, None, Series]:
    """Return the numbers of these series, named as Prometheus names them; pause at each sample."""
    series: Series = {}
    for it in samples:
        yield
        name = it.metric.name
        parts: Iterable[tuple[str, tuple[tuple[str, str], ...], float]] = (("", (), it.number),)
        if it.distribution is not None:
            parts = _parts(it)
        for suffix, more, number in parts:
            if name + suffix in names:
                labels = (*zip(it.metric.labels, it.values, strict=True), *more)
                series.setdefault(name + suffix, {})[tuple(sorted(labels))] = number
    return series


def _parts(it: Sample) -> Iterator[tuple[str, tuple[tuple[str, str], ...], float]]:
    """Yield the series of a histogram by their suffixes; buckets count all that are smaller."""
    assert it.distribution is not None, "a histogram's sample is a distribution"
    yield "_sum", (), it.distribution.sum
    below = 0.0
    bounds = (*map(float, it.metric.bounds), "+Inf")
    for bound, count in zip(bounds, it.distribution.counts, strict=True):
        below += count
        yield "_bucket", (("le", str(bound)),), below
    yield "_count", (), below


class Selection(NamedTuple):
    """The series of a metric that match, as they are or summed over equal `by` labels."""

    metric: str
    where: tuple[tuple[str, str, str], ...] = ()  # a label, `=` or `=~`, and a value
    by: tuple[str, ...] | None = None

    def key(self, labels: Labels) -> Labels | None:
        """Return the labels under which a series is summed; None if it does not match."""
        values = dict(labels)
        for label, operator, value in self.where:
            pattern = value if operator == "=~" else re.escape(value)
            if not re.fullmatch(pattern, values.get(label, "")):
                return None
        return labels if self.by is None else tuple(it for it in labels if it[0] in self.by)


class FollowedSeries:
    """The numbers of a selection at the last look; those of counters grow through all resets.

    The labels keep their order, and new ones come last, so that a point of a window is an array.
    """

    def __init__(self, selection: Selection, *, grows: bool) -> None:
        self.numbers: Values = {}
        self._selection = selection
        self._grows = grows
        self._counts: Values | None = None
        self._keys: dict[Labels, Labels | None] = {}

    def look(self, series: Series) -> None:
        """Take the series of a look."""
        counts = series.get(self._selection.metric, {})
        if not self._grows:
            self.numbers = dict.fromkeys(self.numbers, nan)
        for labels, count in counts.items():
            if labels not in self._keys:
                self._keys[labels] = self._selection.key(labels)
            if (key := self._keys[labels]) is None:
                continue
            number = self._growth(labels, count) if self._grows else count
            sum_before = self.numbers.get(key, 0.0)
            self.numbers[key] = number if isnan(sum_before) else sum_before + number
        self._counts = counts

    def _growth(self, labels: Labels, count: float) -> float:
        # What a counter had before the first look may be old.
        former = count if self._counts is None else self._counts.get(labels, 0.0)
        # A counter that fell was reset.
        return count - former if count >= former else count

    def present(self) -> Values:
        """Return the numbers of the series that there are."""
        return {labels: number for labels, number in self.numbers.items() if not isnan(number)}


class Window:
    """The numbers of a selection in the last `window_s` seconds, at most POINTS moments."""

    def __init__(self, followed: FollowedSeries, window_s: float) -> None:
        self.window_s = window_s
        self._followed = followed
        self.points: deque[tuple[float, array[float]]] = deque()
        self._now = 0.0

    def look(self, now: float) -> None:
        """Note the present numbers, unless the last point is too near."""
        points, self._now = self.points, now
        if points and now < points[-1][0]:  # the clock was set back
            points.clear()
        if not points or now - points[-1][0] >= self.window_s / POINTS:
            points.append((now, array("d", self._followed.numbers.values())))
        while len(points) > 1 and points[1][0] <= now - self.window_s + LATE_S:
            points.popleft()

    def growth(self) -> Values:
        """Return the growth of counters since the window began."""
        numbers, (_, first) = self._followed.numbers, self.points[0]
        pairs = zip_longest(numbers.items(), first, fillvalue=0.0)
        return {labels: number - began for (labels, number), began in pairs}  # type: ignore[misc]

    def before(self) -> Values:
        """Return the numbers when the window began, of the series that there were."""
        at, first = self.points[0]
        if at > self._now - self.window_s:
            return {}
        pairs = zip(self._followed.numbers, first, strict=False)
        return {labels: number for labels, number in pairs if not isnan(number)}

    def predicted(self, in_s: float) -> Values:
        """Return where the straight line through the window's points leads in so many seconds."""
        found: Values = {}
        points = list(self.points)[::PREDICTED_FROM]
        for index, labels in enumerate(self._followed.numbers):
            known = [
                (at - self._now, numbers[index])
                for at, numbers in points
                if index < len(numbers) and not isnan(numbers[index])
            ]
            if not known:  # it has come since the last of these points
                continue
            mean_x, mean_y = (sum(it) / len(known) for it in zip(*known, strict=True))
            spread = sum((x - mean_x) ** 2 for x, _ in known)
            if spread:
                slope = sum((x - mean_x) * (y - mean_y) for x, y in known) / spread
                found[labels] = mean_y + slope * (in_s - mean_x)
        return found


class SeriesHistory:
    """The windows that expressions look back on; equal ones are one.

    Those of a `former` history go on: a reload forgets nothing that is still needed.
    """

    def __init__(self, former: SeriesHistory | None = None) -> None:
        self.names: set[str] = set()  # of the series that expressions read
        self.now = 0.0  # the moment of the last look
        self._followed: dict[tuple[Selection, bool], FollowedSeries] = {}
        self._windows: dict[tuple[Selection, bool, float], Window] = {}
        self._former = former

    def followed(self, selection: Selection, *, grows: bool) -> FollowedSeries:
        """Return a selection as it is at each look: what counters grew by, or gauges are."""
        key = (selection, grows)
        if key not in self._followed:
            self.names.add(selection.metric)
            former = self._former and self._former._followed.get(key)
            self._followed[key] = former or FollowedSeries(selection, grows=grows)
        return self._followed[key]

    def window(self, selection: Selection, window_s: float, *, grows: bool) -> Window:
        """Return the window of a selection."""
        key = (selection, grows, window_s)
        if key not in self._windows:
            followed = self.followed(selection, grows=grows)
            former = self._former and self._former._windows.get(key)
            self._windows[key] = former or Window(followed, window_s)
        return self._windows[key]

    def look(self, now: float, samples: Iterable[Sample]) -> Generator[None, None, None]:
        """Take the metrics of a moment (epoch s), with pauses."""
        self._former = None
        series = yield from series_of(samples, self.names)
        for followed in self._followed.values():
            followed.look(series)
            yield
        for window in self._windows.values():
            window.look(now)
            yield
        self.now = now
