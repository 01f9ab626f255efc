"""Samples of the last days, series by series: rates and predictions are computed from them.

The console looks every few seconds. Of a window of minutes each look is kept, of longer windows the
first look in each step, so that a window has some 180 samples at most. The newest sample is always
that of the last look, so a longer step makes only the beginning of a window less exact.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from functools import cache
from itertools import accumulate
from math import isnan, nan
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from gateway.telemetry.metrics import Sample

Numbers: TypeAlias = Sequence[float]
Labels: TypeAlias = tuple[tuple[str, str], ...]


class Tier(NamedTuple):
    """The distance between samples that are kept for windows up to `span_s`."""

    step_s: int
    span_s: int


TIERS = (Tier(5, 900), Tier(20, 3600), Tier(120, 6 * 3600), Tier(1440, 3 * 86_400))
NO_SLOT = -(1 << 62)
DROPPED_EVERY = 60  # looks: series that are gone leave the history within five minutes


@cache
def tier_of(window_s: int) -> int:
    """Return the index of the tier for a window."""
    return next(index for index, tier in enumerate(TIERS) if window_s <= tier.span_s)


class LookTimes:
    """The moments of looks in a tier: of each step the first."""

    def __init__(self, tier: Tier) -> None:
        self.step_s = tier.step_s
        self._size = tier.span_s // tier.step_s + 2
        self._looks = [(NO_SLOT, 0.0, 0)] * self._size  # slot, moment, and number of the look

    def add(self, now: float, number: int) -> None:
        """Take a look, if it is the first in its step."""
        slot = int(now // self.step_s)
        index = slot % self._size
        if self._looks[index][0] != slot:
            self._looks[index] = slot, now, number

    def at(self, slot: int) -> tuple[float, int] | None:
        """Return moment and number of the look in a step; None if there was none."""
        found, moment, number = self._looks[slot % self._size]
        return (moment, number) if found == slot else None


class SampleRing:
    """The samples of a series in a tier, some 5 KiB for three days of a counter."""

    __slots__ = ("numbers", "size", "width")

    def __init__(self, size: int, width: int) -> None:
        self.size = size
        self.width = width
        self.numbers = array("d", [nan]) * (size * width)

    def put(self, slot: int, numbers: Numbers) -> None:
        """Keep the sample of a step in place of the one a lap ago."""
        begin = slot % self.size * self.width
        self.numbers[begin : begin + self.width] = array("d", numbers)

    def get(self, slot: int) -> Numbers | None:
        """Return the sample of a step of this lap; None if there is none."""
        begin = slot % self.size * self.width
        if isnan(self.numbers[begin]):
            return None
        return self.numbers[begin : begin + self.width]

    def clear(self, slot: int) -> None:
        """Drop the sample of a step."""
        self.numbers[slot % self.size * self.width] = nan


class Series:
    """The samples of one series. A histogram's are its sum and its cumulative buckets."""

    __slots__ = (
        *("first_at", "first_number", "labels", "last"),
        *("last_at", "last_number", "resets", "rings"),
    )

    def __init__(
        self,
        labels: Mapping[str, str],
        rings: Sequence[SampleRing | None],
        now: float,
        number: int,
    ) -> None:
        self.labels = labels
        self.rings = rings  # by tier; None for a tier that no window of the metric is in
        self.first_at, self.first_number = now, number
        self.last: Numbers = ()
        self.last_at, self.last_number = now, number
        self.resets: list[tuple[float, Numbers]] = []  # when, and what the counter had reached

    def note_reset(self, numbers: Numbers, now: float) -> None:
        """Take what a counter had reached before it fell."""
        lost = tuple(a if b < a else 0.0 for a, b in zip(self.last, numbers, strict=True))
        if any(lost):
            self.resets.append((now, lost))

    def clear_absence(self, now: float) -> None:
        """Clear the steps since the last sample, which hold samples of long ago."""
        for tier, ring in zip(TIERS, self.rings, strict=True):
            if ring is not None:
                slot = int(now // tier.step_s)
                first = max(int(self.last_at // tier.step_s) + 1, slot - ring.size)
                for missed in range(first, slot):
                    ring.clear(missed)

    def first(self, times: LookTimes, tier: int, begin: float) -> tuple[Numbers, float, int] | None:
        """Return the first sample from `begin` on, with its moment and look."""
        ring = self.rings[tier]
        assert ring is not None  # a window of a rule is in it
        step_s = TIERS[tier].step_s
        for slot in range(
            int(max(begin, self.first_at) // step_s), int(self.last_at // step_s) + 1
        ):
            numbers = ring.get(slot)
            look = times.at(slot)
            if numbers is None or look is None:
                continue
            if look[0] < self.first_at:
                look = self.first_at, self.first_number
            if look[0] >= begin:
                return numbers, *look
        return None


class MetricHistory:
    """The series of one metric."""

    def __init__(self, windows_s: Iterable[int]) -> None:
        self.sizes = [0] * len(TIERS)
        for window_s in windows_s:
            tier = tier_of(window_s)
            size = window_s // TIERS[tier].step_s + 2
            self.sizes[tier] = max(size, self.sizes[tier])
        self.longest_s = max(windows_s, default=0)
        self.bounds: Sequence[float] = ()
        self.series: dict[tuple[str, ...], Series] = {}
        self.present: dict[tuple[str, ...], Series] = {}  # at the last look
        self.changes = 0  # in the set of series

    def rings(self, width: int) -> list[SampleRing | None]:
        """Return the rings of a new series with samples of so many numbers."""
        return [SampleRing(size, width) if size else None for size in self.sizes]


class WindowStart(NamedTuple):
    """The look that a window begins with, for all series that were there then and are now."""

    slot: int
    began_by: float  # series that began later than this are looked at one by one
    interval: float  # to the last look
    before: float  # seconds that the window begins earlier
    limit: float  # growth goes on for `before` if that is less, else for `half`
    half: float

    def extrapolated(
        self, first: Numbers, last: Numbers, per_s: int, after: float = 0.0
    ) -> Numbers:
        """Return the growth from first to last, extrapolated to the window."""
        interval, before, limit = self.interval, self.before, self.limit
        factor = (interval + (before if before < limit else self.half) + after) / interval / per_s
        grown = []
        for counted, reached in zip(first, last, strict=True):
            more = reached - counted
            if more > 0 and (to_zero := interval * (counted / more)) < before:
                ahead = to_zero if to_zero < limit else self.half
                grown.append(more * ((interval + ahead + after) / interval / per_s))
            else:
                grown.append(more * factor)
        return tuple(grown)


class SampleHistory:
    """The histories of the metrics that rules need, with the windows that they need."""

    def __init__(self) -> None:
        self.metrics: dict[str, MetricHistory] = {}
        self.times = [LookTimes(tier) for tier in TIERS]
        self.now = 0.0
        self._first_at = 0.0
        self._number = 0
        self._slots = [NO_SLOT] * len(TIERS)
        self._new: list[tuple[int, int]] = []  # tiers whose step begins with this look; its slot
        self._starts: dict[int, WindowStart | None] = {}  # by window

    def need(self, windows_s: Mapping[str, frozenset[int]]) -> None:
        """Keep these metrics for these windows from now on; what is kept already goes on."""
        needed = {name: MetricHistory(windows) for name, windows in windows_s.items()}
        for name, history in needed.items():
            before = self.metrics.get(name)
            if before is not None and before.sizes == history.sizes:
                needed[name] = before
        self.metrics = needed

    def add(self, now: float, samples: Iterable[Sample]) -> Iterator[None]:
        """Take a look, in steps."""
        self._begin_look(now)
        for count, sample in enumerate(samples):
            found = self.metrics.get(sample.metric.name)
            if found is not None:
                self._take(found, sample)
            if not count % 64:
                yield
        if not self._number % DROPPED_EVERY:
            for history in self.metrics.values():
                _drop_gone(history, now)
            yield

    def begin_anew(self) -> None:
        """Drop all samples: once a clock was set, nothing says how far they are apart."""
        for history in self.metrics.values():
            history.series.clear()
            history.changes += 1
        self.times = [LookTimes(tier) for tier in TIERS]
        self._number = 0

    def _begin_look(self, now: float) -> None:
        if now < self.now:  # the clock was set back
            self.begin_anew()
        self._number += 1
        self.now = now
        if self._number == 1:
            self._first_at = now
        self._starts.clear()
        slots = [int(now // tier.step_s) for tier in TIERS]
        self._new = [(it, slot) for it, slot in enumerate(slots) if slot != self._slots[it]]
        self._slots = slots
        for times in self.times:
            times.add(now, self._number)
        for history in self.metrics.values():
            history.present = {}

    def _take(self, history: MetricHistory, sample: Sample) -> None:
        metric, number = sample.metric, self._number
        series = history.series.get(sample.values)
        if sample.distribution is None:
            numbers: Numbers = (sample.number,)
        else:
            numbers = (sample.distribution.sum, *accumulate(sample.distribution.counts))
        new = self._new
        if series is None:
            labels = dict(zip(metric.labels, sample.values, strict=True))
            series = Series(labels, history.rings(len(numbers)), self.now, number)
            history.series[sample.values] = series
            history.changes += 1
            history.bounds = metric.bounds
            new = list(enumerate(self._slots))
        elif numbers != series.last and metric.kind != "gauge":
            series.note_reset(numbers, self.now)
        if number - series.last_number > 1:
            series.clear_absence(self.now)
        for tier, slot in new:
            ring = series.rings[tier]
            if ring is not None:
                ring.put(slot, numbers)
        series.last, series.last_at, series.last_number = numbers, self.now, number
        history.present[sample.values] = series

    def growth(self, series: Series, window_s: int, per_s: int = 1) -> Numbers | None:
        """Return how much counters have grown in a window, as increase() of Prometheus does.

        It extrapolates to the ends of the window, but not below zero, and not far beyond the first
        and last sample. With the window as `per_s` it is rate(), digit by digit. Returns None
        without two samples.
        """
        start, tier = self._start_of(window_s), tier_of(window_s)
        if (
            start is not None
            and series.first_at <= start.began_by
            and series.last_number == self._number
            and not series.resets
        ):
            ring = series.rings[tier]
            first = None if ring is None else ring.get(start.slot)
            if first is not None:
                return start.extrapolated(first, series.last, per_s)
        return self._growth_of_one(series, tier, window_s, per_s)

    def total_growth(self, group: Iterable[Series], window_s: int, per_s: int) -> float | None:
        """Return the sum of the growth of counters; None if none has two samples.

        It is that of each, but at once for those of thousands that have not grown.
        """
        start, tier, number = self._start_of(window_s), tier_of(window_s), self._number
        total, is_known = 0.0, False
        for series in group:
            if (
                start is not None
                and series.first_at <= start.began_by
                and series.last_number == number
                and not series.resets
            ):
                ring = series.rings[tier]
                if ring is not None and ring.numbers[start.slot % ring.size] == series.last[0]:
                    is_known = True
                    continue
            grown = self.growth(series, window_s, per_s)
            if grown is not None:
                total += grown[0]
                is_known = True
        return total if is_known else None

    def _start_of(self, window_s: int) -> WindowStart | None:
        if window_s not in self._starts:
            self._starts[window_s] = self._window_start(window_s)
        return self._starts[window_s]

    def _window_start(self, window_s: int) -> WindowStart | None:
        tier = tier_of(window_s)
        step_s = TIERS[tier].step_s
        begin = self.now - window_s
        is_young = self._first_at >= begin
        for slot in range(int(max(begin, self._first_at) // step_s), self._slots[tier] + 1):
            look = self.times[tier].at(slot)
            if look is not None and look[0] >= begin:
                at, number = look
                interval = self.now - at
                if not interval:
                    return None
                average = interval / (self._number - number)
                # The last sample before the window may be in none of the steps that are kept.
                apart = average if is_young else max(average, step_s)
                began_by = at if is_young else begin
                limit, half = 1.1 * apart, average / 2
                return WindowStart(slot, began_by, interval, at - begin, limit, half)
        return None

    def _growth_of_one(
        self, series: Series, tier: int, window_s: int, per_s: int
    ) -> Numbers | None:
        begin = self.now - window_s
        found = series.first(self.times[tier], tier, begin)
        if found is None or found[1] >= series.last_at:
            return None
        first, first_at, number = found
        reached = series.last
        for at, lost in series.resets:
            if at > first_at:
                reached = tuple(a + b for a, b in zip(reached, lost, strict=True))
        interval = series.last_at - first_at
        average = interval / (series.last_number - number)
        is_older = series.first_at < begin
        apart = max(average, TIERS[tier].step_s) if is_older else average
        after = self.now - series.last_at
        after = after if after < 1.1 * average else average / 2
        start = WindowStart(0, 0.0, interval, first_at - begin, 1.1 * apart, average / 2)
        return start.extrapolated(first, reached, per_s, after)

    def points(self, series: Series, window_s: int) -> Iterator[tuple[float, float]]:
        """Yield moments and values of a gauge in a window."""
        tier = tier_of(window_s)
        step_s = TIERS[tier].step_s
        times, ring = self.times[tier], series.rings[tier]
        assert ring is not None  # a window of a rule is in it
        begin, at = self.now - window_s, -1.0
        begin_slot = int(max(begin, series.first_at) // step_s)
        for slot in range(begin_slot, int(series.last_at // step_s) + 1):
            look, numbers = times.at(slot), ring.get(slot)
            if look is not None and numbers is not None and look[0] >= begin:
                at = max(look[0], series.first_at)
                yield at, numbers[0]
        if at < series.last_at:
            yield series.last_at, series.last[0]


def _drop_gone(history: MetricHistory, now: float) -> None:
    """Drop the series that no window has any more, and resets before all windows."""
    oldest = now - history.longest_s
    gone = [key for key, series in history.series.items() if series.last_at < oldest]
    for key in gone:
        del history.series[key]
    history.changes += len(gone)
    for series in history.series.values():
        if series.resets:
            series.resets = [reset for reset in series.resets if reset[0] >= oldest]
