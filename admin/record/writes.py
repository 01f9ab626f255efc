"""The appends on the first page: their rates, outcomes and durations, and their commits."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

from admin.model.overview import Writes
from admin.record import figures

if TYPE_CHECKING:
    from collections.abc import Callable

    from admin.model.charts import Chart, Stat
    from admin.record.figures import Row

    Figure = Callable[[Row | None], float | None]
    MakeStat = Callable[[Figure, Row | None], Stat]


class MakeChart(Protocol):
    """Make a chart of lines, each a name with the figure of a row."""

    def __call__(self, *lines: tuple[str, Figure]) -> Chart:
        """Return the chart."""


def writes(stat: MakeStat, chart: MakeChart, latest: Row | None, whole: Row | None) -> Writes:
    """Return the appends of all routes: rates of `latest`, and durations of the `whole` span."""
    p50, p99 = (partial(figures.append_quantile, quantile=it) for it in (0.5, 0.99))
    return Writes(
        appends=stat(_rate("appends"), latest),
        received=stat(_rate("received_bytes"), latest),
        refused=stat(_rate("appends_refused"), latest),
        failed=stat(_rate("appends_failed"), latest),
        p50=stat(p50, whole),
        p99=stat(p99, whole),
        commits=stat(_rate("commits"), latest),
        appends_per_commit=stat(figures.appends_per_commit, whole),
        by_outcome=chart(
            ("stored", _rate("appends")),
            ("refused", _rate("appends_refused")),
            ("failed", _rate("appends_failed")),
            ("client left", _rate("appends_cut")),
        ),
        durations=chart(("p50", p50), ("p99", p99)),
    )


def _rate(name: str) -> Figure:
    return lambda row: figures.rate(row, name)
