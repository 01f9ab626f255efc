"""Counts of the requests of one route, as plain numbers.

Only the event loop touches them. A cached response is counted in one place, its `Hits`; a scrape
sums all of these.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import product
from time import perf_counter
from typing import TYPE_CHECKING, Literal, Protocol, get_args

from headgate_gateway.protocol.streams.offsets import BEGINNING, NOW, long_over_at
from headgate_gateway.telemetry.metrics import Distribution, Histogram

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_gateway.protocol.responses import Response


# What ended a live read. `closed`: the stream was closed, or is gone; `slow`: it did not read;
# `expired` and `revoked`: so is the credential that it was admitted by; `disconnected`: by an
# operator.
Ended = Literal[
    "answered",
    "timeout",
    "client",
    "closed",
    "slow",
    "drain",
    "error",
    "expired",
    "revoked",
    "disconnected",
]
ENDS: Sequence[Ended] = get_args(Ended)

DELIVERY_SECONDS = (
    *(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
READERS: tuple[float, ...] = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class SlowReader(Protocol):
    """A reader that does not take what was written to it."""

    def unsent_bytes(self) -> int:
        """Return how many bytes the reader has not taken yet."""


class LiveReaders:
    """The live readers of one mode. A delivery is a piece of news written to one reader."""

    __slots__ = ("bytes", "deliveries", "departures", "joins")

    def __init__(self) -> None:
        self.joins = 0
        self.departures: dict[Ended, int] = dict.fromkeys(ENDS, 0)
        self.deliveries = 0
        self.bytes = 0

    @property
    def now(self) -> int:
        """Number of readers that wait or are written to."""
        return self.joins - sum(self.departures.values())

    def delivered(self, readers: int, size: int, pieces: int = 1) -> None:
        """Count pieces that have `size` bytes together, and were written to so many readers."""
        self.deliveries += readers * pieces
        self.bytes += readers * size


class LiveTraffic:
    """The live counts of one route: `event_bytes` has all bytes of SSE, heartbeats included."""

    def __init__(self) -> None:
        self.sse = LiveReaders()
        self.long_poll = LiveReaders()
        self.event_bytes = 0
        self.delays = Histogram(DELIVERY_SECONDS)
        self.collapsed = Histogram(READERS)
        self.detached = 0
        self.slow: set[SlowReader] = set()

    def wrote_events(self, readers: int, size: int, news: int) -> None:
        """Count `size` bytes with `news` pieces of news, written to each of so many SSE readers."""
        self.event_bytes += readers * size
        if news:
            self.sse.delivered(readers, size, news)


# Indices into the lists of a Traffic: to look a name up would cost more than to count.
OPERATIONS = (
    *("read", "long_poll", "sse", "head", "append"),
    *("create", "close", "delete", "options", "list", "other"),
)
READ, LONG_POLL, SSE, HEAD, APPEND, CREATE, CLOSE, DELETE, OPTIONS, LIST, OTHER = range(11)
TIMED = (READ, HEAD, APPEND, CREATE, CLOSE, DELETE, LIST)  # the others wait for news, or do nothing
STATUSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "cut")
_STATUSES = len(STATUSES)
# Those that are counted one by one, besides their class; any other is counted as OTHER_STATUS.
REFUSED_STATUSES = (400, 401, 403, 404, 409, 410, 413, 429, 500, 502, 503, 504)
OTHER_STATUS = 0
CUT = 600  # as a status: the client left before there was an answer
_OK = 1  # the index of 2xx
_REDIRECTION = 2  # and of 3xx
_OF_CACHED = range(1, 5)  # the indexes of the statuses of cacheable responses
RESULTS = ("hit", "miss", "stale", "revalidated", "collapsed", "bypass")
HIT, MISS, STALE, REVALIDATED, COLLAPSED, BYPASS = range(6)
DECISIONS = ("admitted", "unauthenticated", "forbidden")
ADMITTED, UNAUTHENTICATED, FORBIDDEN = range(3)
BEGINNINGS = ("offset", "start", "gap", "terminal")
OFFSET, START, GAP, TERMINAL, NOWHERE = range(5)  # NOWHERE is counted, and not reported

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_FIRST_S = SECONDS[0]


class Hits:
    """Cached responses of one status that were sent at once, to reads of one kind.

    `status` is an index among STATUSES. The sender of a response counts it and its body's `bytes`.
    Some are measured, each for those up to the next, in the sum and in the buckets of their
    histogram.
    """

    __slots__ = (
        *("_late", "_measured", "_seconds", "_took"),
        *("resume_kind", "bytes", "count", "status", "unchanged"),
    )

    def __init__(self, status: int = _OK, resume_kind: int = NOWHERE) -> None:
        self.status = status
        self.resume_kind = resume_kind
        self.count = 0
        self.unchanged = 0  # those of them that were given as a 304
        self.bytes = 0
        self._seconds = 0.0  # of the first `_measured`
        self._measured = 0
        self._took = 0.0
        # Those of them by bucket that took longer than the first bound, as few do.
        self._late = [0] * (len(SECONDS) + 1)

    def measured(self, seconds: float) -> None:
        """Note how long the read took that was counted last."""
        before = self.count - 1
        times = before - self._measured
        self._seconds += self._took * times
        if self._took > _FIRST_S:
            self._late[bisect_left(SECONDS, self._took)] += times
        self._measured = before
        self._took = seconds

    def distribution(self) -> Distribution:
        """Return the durations of all counted reads."""
        times = self.count - self._measured
        counts = list(self._late)
        if self._took > _FIRST_S:
            counts[bisect_left(SECONDS, self._took)] += times
        counts[0] = self.count - sum(counts)
        return Distribution(tuple(counts), self._seconds + self._took * times)


class CacheShare:
    """The part of a shared cache that one owner has."""

    __slots__ = ("bytes", "entries", "evictions")

    def __init__(self) -> None:
        self.bytes = 0
        self.entries = 0
        self.evictions = 0


class Polls:
    """Long-polls that are answered without a task, and begin alike."""

    __slots__ = ("_traffic", "resume_kind")

    def __init__(self, traffic: Traffic, resume_kind: int) -> None:
        self._traffic = traffic
        self.resume_kind = resume_kind

    def count_hit(self, size: int) -> None:
        """Count a long-poll that was answered with data at once, `size` bytes of it."""
        self._traffic.read(LONG_POLL, 200, size, None, self.resume_kind, COLLAPSED)

    def cut(self) -> None:
        """Count a long-poll whose client has left, or was let go."""
        self._traffic.answered(LONG_POLL, CUT, 0)
        self._traffic.results[COLLAPSED] += 1


class Traffic:
    """The counts of one route. `collapsed` observes how many readers shared a fetch or read."""

    def __init__(self) -> None:
        self.requests = [0] * (len(OPERATIONS) * len(STATUSES))
        self.durations = {operation: Histogram(SECONDS) for operation in TIMED}
        self.results = [0] * len(RESULTS)
        self.resumes = [0] * (NOWHERE + 1)
        self.decisions = [0] * len(DECISIONS)  # of the guard, without those on cached responses
        self.refused = dict.fromkeys((*REFUSED_STATUSES, OTHER_STATUS), 0)  # by status
        # When the appends came (perf_counter) that were answered in this turn; see `count_stored`.
        self.stored: list[float] = []
        self.request_bytes = 0
        self.response_bytes = 0
        self.cursor_regressions = 0
        self.live = LiveTraffic()
        self.collapsed = self.live.collapsed
        self.cache_share = CacheShare()
        self.polls = tuple(Polls(self, resume_kind) for resume_kind in range(NOWHERE + 1))
        self._hits = {
            operation: tuple(Hits(*kind) for kind in product(_OF_CACHED, range(NOWHERE + 1)))
            for operation in (READ, LONG_POLL)
        }

    def hits(self, operation: int, resume_kind: int, status: int = 200) -> Hits:
        """Return the counts of cached responses of a status to such reads."""
        place = _OF_CACHED.index(status // 100 - 1)
        return self._hits[operation][place * (NOWHERE + 1) + resume_kind]

    def answered(
        self, operation: int, status: int, size: int, seconds: float | None = None
    ) -> None:
        """Count a request with the bytes of its answer's body; where it did not wait, its time."""
        self.requests[operation * _STATUSES + status // 100 - 1] += 1
        self.response_bytes += size
        if 400 <= status < CUT:
            self._refuse(status, 1)
        if seconds is not None and operation in self.durations:
            self.durations[operation].observe(seconds)

    def count_stored(self) -> None:
        """Count the appends in `stored`, before the counts can be read."""
        moments, self.stored = self.stored, []
        if moments:
            self.requests[APPEND * _STATUSES + _OK] += len(moments)
            self.durations[APPEND].observe_since(sorted(moments), perf_counter())

    def read(
        self,
        operation: int,
        status: int,
        size: int,
        seconds: float | None,
        resume_kind: int,
        result: int | None,
    ) -> None:
        """Count a read, where it began, and the cache's result, if there is one."""
        self.answered(operation, status, size, seconds)
        if result is not None:
            self.results[result] += 1
        self.resumes[resume_kind] += 1

    def polls_answered(self, response: Response, resumes: Sequence[int]) -> None:
        """Count equal long-polls that were given this answer, by where they began to read."""
        readers = sum(resumes)
        self.requests[LONG_POLL * _STATUSES + response.status // 100 - 1] += readers
        self.response_bytes += readers * len(response.body)
        self.results[COLLAPSED] += readers
        if response.facts.is_end:
            self.resumes[TERMINAL] += readers
        elif response.status >= 400:
            self._refuse(response.status, readers)
        else:
            for resume_kind, count in enumerate(resumes):
                self.resumes[resume_kind] += count

    def _refuse(self, status: int, times: int) -> None:
        self.refused[status if status in self.refused else OTHER_STATUS] += times

    def note_cursor(self, echoed: int | None, now: float) -> None:
        """Count a live read at `now` (epoch seconds) if its cursor is of an interval long over."""
        if now >= long_over_at(echoed):
            self.cursor_regressions += 1

    # Sums

    def request_count(self, operation: int, status: int) -> int:
        """Return the number of requests of an operation with this index among STATUSES."""
        counted = self.requests[operation * _STATUSES + status]
        kinds = self._hits.get(operation, ())
        counted += sum(hits.count - hits.unchanged for hits in kinds if hits.status == status)
        if status == _REDIRECTION:
            counted += sum(hits.unchanged for hits in kinds)
        return counted

    def duration(self, operation: int) -> Distribution:
        """Return the durations of an operation's requests."""
        distribution = self.durations[operation].distribution()
        for hits in self._hits.get(operation, ()):
            distribution += hits.distribution()
        return distribution

    def result_count(self, result: int) -> int:
        """Return the number of reads with this cache result."""
        return self.results[result] + (self._cached_responses() if result == HIT else 0)

    def decision_count(self, decision: int) -> int:
        """Return how often the guard decided so; a client with a cached response was admitted."""
        return self.decisions[decision] + (self._cached_responses() if decision == ADMITTED else 0)

    def resume_count(self, resume_kind: int) -> int:
        """Return the number of reads that began so."""
        all_hits = (hits for kinds in self._hits.values() for hits in kinds)
        return self.resumes[resume_kind] + sum(
            hits.count for hits in all_hits if hits.resume_kind == resume_kind
        )

    def bytes_out(self) -> int:
        """Return the bytes of bodies that were written, those of live answers included."""
        of_hits = sum(hits.bytes for kinds in self._hits.values() for hits in kinds)
        return self.response_bytes + self.live.event_bytes + of_hits

    def _cached_responses(self) -> int:
        return sum(hits.count for kinds in self._hits.values() for hits in kinds)


def resume_kind(offset: object) -> int:
    """Return the resume kind of a read from an offset; None and -1 are a stream's beginning."""
    if offset is None or offset == BEGINNING:
        return START
    return NOWHERE if offset == NOW else OFFSET
