"""The newest runs of a route, as this process sees their streams being written.

Each commit of a route that says `runs = true` comes by here: two dictionaries are asked for its
stream, and its messages are counted.
"""

from __future__ import annotations

from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING

from headgate import names, records
from headgate_gateway.features.runs.run_entry import RunEntry, contents_of, summarise
from headgate_gateway.protocol.bodies.content import is_json
from headgate_gateway.telemetry.logs import log
from headgate_gateway.telemetry.metrics import (
    Histogram,
    Sample,
    counter,
    gauge,
    histogram,
    observed,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from headgate.records import Status
    from headgate_gateway.errors import HeadgateError
    from headgate_gateway.features.runs.run_entry import CommitSummary
    from headgate_gateway.protocol.appends import AppendOutcome
    from headgate_gateway.protocol.streams.state import Change, StreamState
    from headgate_gateway.telemetry.spans import Tracer

# Of gen_ai.client.operation.duration, .time_to_first_chunk and .time_per_output_chunk.
BOUNDS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
STATUSES: tuple[Status, ...] = ("finished", "stopped", "failed", "orphaned")

STARTED = counter("headgate_runs_started_total", "Runs whose streams were created.", "route")
ENDED = counter(
    "headgate_runs_ended_total",
    "Runs whose streams were closed, by how they ended.",
    *("route", "status"),
)
ITEMS = counter("headgate_run_items_total", "Items of runs that were stored.", "route")
DURATION = histogram(
    "headgate_run_duration_seconds",
    "Time from the creation of a run's stream to its end.",
    *("route", "status"),
    bounds=BOUNDS_S,
)
FIRST_ITEM = histogram(
    "headgate_run_first_item_seconds",
    "Time from the creation of a run's stream to the first item of its source.",
    "route",
    bounds=BOUNDS_S,
)
PER_ITEM = histogram(
    "headgate_run_seconds_per_item",
    "Mean time from one item of a run to the next, after the first.",
    "route",
    bounds=BOUNDS_S,
)
KNOWN = gauge("headgate_runs_known", "Runs that the console can show.", "route")
FORGOTTEN = counter(
    "headgate_runs_forgotten_total",
    "Runs that were dropped from the console to make room for newer ones.",
    "route",
)


class RunMetrics:
    """The runs of a route in this process."""

    def __init__(self) -> None:
        self.started = 0
        self.items = 0
        self.forgotten = 0
        self.ended = dict.fromkeys(STATUSES, 0)
        self.durations = {status: Histogram(BOUNDS_S) for status in STATUSES}
        self.first_item = Histogram(BOUNDS_S)
        self.per_item = Histogram(BOUNDS_S)

    def end(self, status: Status, lasted_s: float | None, per_item_s: float | None) -> None:
        """Count a run that has ended; times are None where they are not known."""
        self.ended[status] += 1
        if lasted_s is not None:
            self.durations[status].observe(lasted_s)
        if per_item_s is not None:
            self.per_item.observe(per_item_s)


def samples(prefix: str, figures: RunMetrics, known: int) -> Iterator[Sample]:
    """Yield every number of the runs of the route with this prefix; `known` are in its list."""
    yield Sample(STARTED, (prefix,), figures.started)
    yield Sample(ITEMS, (prefix,), figures.items)
    yield Sample(KNOWN, (prefix,), known)
    yield Sample(FORGOTTEN, (prefix,), figures.forgotten)
    for status in STATUSES:
        yield Sample(ENDED, (prefix, status), figures.ended[status])
        yield observed(DURATION, figures.durations[status], prefix, status)
    yield observed(FIRST_ITEM, figures.first_item, prefix)
    yield observed(PER_ITEM, figures.per_item, prefix)


# Runs of a route, in each process: twenty pages, further than anybody leafs. One takes half a KB.
MOST_RUNS = 1_000
# At the end of paths of what stands beside a run.
BESIDE = tuple(f"/{name}" for name in names.BESIDE)


class RunTable:
    """The runs that are produced, and those that are not any more, the oldest first."""

    def __init__(
        self,
        prefix: str,
        clock: Callable[[], float],
        tracer: Tracer | None,
        *,
        is_shared: bool,
    ) -> None:
        """`is_shared` says that other processes write to the runs as well."""
        self._prefix = prefix
        self._clock = clock
        self._tracer = tracer
        self._is_shared = is_shared
        self._open: OrderedDict[str, RunEntry] = OrderedDict()
        self._over: OrderedDict[str, RunEntry] = OrderedDict()
        self.figures = RunMetrics()

    @property
    def is_full(self) -> bool:
        """True if the next run takes the place of another."""
        return len(self) >= MOST_RUNS

    def __len__(self) -> int:
        return len(self._open) + len(self._over)

    def __iter__(self) -> Iterator[RunEntry]:
        """Yield all runs, those that may be produced first."""
        return iter([*self._open.values(), *self._over.values()])

    def get(self, path: str) -> RunEntry | None:
        """Return the run of a path, if it is known."""
        return self._open.get(path) or self._over.get(path)

    # What happens to streams

    def on_settled(self, change: Change) -> None:
        """Note a stream that was created, deleted or has expired here. It never raises."""
        try:
            if change.expected is None or change.removes or change.state.soft_deleted:
                self.remove(change.state.path)
            if change.expected is None and change.records:
                self._note_creation(change)
        except Exception:  # noqa: BLE001 - what the console shows is not worth a stream
            log.exception("runs.not_counted", path=change.state.path)

    def _note_creation(self, change: Change) -> None:
        state, data = change.state, change.records[0].data
        if records.MARK not in data or not is_json(state.content_type):
            return
        contents = contents_of(data)
        if contents.run_records and contents.run_records[0].format is not None:
            run = self.add(state, is_whole=True)
            run.is_run = True
            run.items = contents.items
            self.figures.items += contents.items
            run.size = state.tail
            self.figures.started += 1

    def remove(self, path: str) -> None:
        """Remove the run at a path, because its stream was deleted or has no run."""
        self._open.pop(path, None)
        self._over.pop(path, None)

    def on_stored(self, change: Change, outcomes: Sequence[AppendOutcome | HeadgateError]) -> None:
        """Note what was appended here. It never raises: the writers wait for their answers."""
        try:
            run = self._open.get(change.state.path) or self._find_or_add(change)
            if run is not None and (change.records or change.state.closed):
                self._take(run, change, summarise(change, outcomes))
        except Exception:  # noqa: BLE001 - what the console shows is not worth an append
            log.exception("runs.not_counted", path=change.state.path)
            self.remove(change.state.path)

    def _find_or_add(self, change: Change) -> RunEntry | None:
        """Return the run that its producer has appended to; it was begun elsewhere."""
        state = change.state
        over = self._over.pop(state.path, None)
        if over is not None:  # it was taken for an orphan, and goes on
            self._open[state.path] = over
            return over
        is_of_run = bool(change.producers) and change.producers[0][0] == names.PRODUCER
        if not is_of_run or state.path.endswith(BESIDE) or not is_json(state.content_type):
            return None
        return self.add(state, is_whole=False)

    def add(self, state: StreamState, *, is_whole: bool) -> RunEntry:
        """Take up a run, in place of the oldest where there are too many."""
        if self.is_full:
            self._oldest().popitem(last=False)
            self.figures.forgotten += 1
        now = perf_counter()
        run = self._open[state.path] = RunEntry(
            path=state.path,
            stream_id=state.stream_id,
            created_at=state.created_at,
            wall_s=self._clock() - now,
            started_at=now,
            is_whole=is_whole,
        )
        return run

    def _oldest(self) -> OrderedDict[str, RunEntry]:
        """Return where the first one is the next to make room.

        Runs that go on stay longest, where it is known here that others do not.
        """
        if not (self._over and self._open):
            return self._over or self._open
        if not self._is_shared:
            return self._over
        first = next(iter(self._open.values()))
        return (
            self._open
            if first.started_at < next(iter(self._over.values())).started_at
            else self._over
        )

    def _take(self, run: RunEntry, change: Change, news: CommitSummary) -> None:
        now = perf_counter()
        if change.records:
            first = change.records[0]
            run.size += change.records[-1].end - first.end + len(first.data)
        if news.items:
            self._count(run, news, now)
        if change.state.closed and run.ended_at is None:
            run.end = news.end or records.CUT
            self._end(run, now)

    def _count(self, run: RunEntry, news: CommitSummary, now: float) -> None:
        """Count items; those that come with a claim are the library's, which say nothing yet."""
        run.items += news.items
        self.figures.items += news.items
        if news.starts_run:
            return
        if run.first_at is None:
            run.first_at, run.first_items = now, run.items
            if run.is_whole:
                self.figures.first_item.observe(now - run.started_at)
        run.last_at = now

    def _end(self, run: RunEntry, now: float) -> None:
        assert run.end is not None, "it was closed"
        run.ended_at = now
        self.settle(run)
        lasted_s = now - run.started_at if run.is_whole else None
        self.figures.end(run.end.status, lasted_s, run.seconds_per_item)
        if self._tracer is not None and lasted_s is not None:
            attributes: dict[str, str | int | float] = {
                "http.route": f"{self._prefix}/{{stream}}",
                "headgate.stream.name": run.path,
                "headgate.run.items": run.items,
            }
            if run.first_at is not None:
                first_s = run.first_at - run.started_at
                attributes["gen_ai.response.time_to_first_chunk"] = first_s
            self._tracer.run(attributes, lasted_s, run.end.status)

    def settle(self, run: RunEntry) -> None:
        """Count a run among those that are not produced any more."""
        if self._open.pop(run.path, None) is not None:
            self._over[run.path] = run
