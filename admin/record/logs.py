"""The places where appends go: how full a log is and when it will be, or an origin's servers."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

from admin.model.overview import LogFact, LogView
from gateway.monitoring.alerts_of_parts import LEAST_FREE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from admin.model.kinds import Level
    from admin.model.overview import RouteView
    from gateway.telemetry.metrics import Sample

    Unit = Literal["count", "bytes", "seconds", "words"]

USED, MOST = "headgate_storage_used_bytes", "headgate_storage_max_bytes"
SIZE, FREE = "headgate_storage_size_bytes", "headgate_storage_free_bytes"
GROWTH_STEP_S = 60.0
GROWTH_STEPS = 16  # a quarter of an hour: longer than a burst, and soon right after one
SOON_S = 24 * 3600.0  # in which a log will be full: an operator's next working day


class _Size(NamedTuple):
    at: float
    size: float


class Growth:
    """The growth of logs, by the prefix of their route, from sizes of a quarter of an hour."""

    def __init__(self) -> None:
        self._sizes: dict[str, deque[_Size]] = {}

    def update(self, now: float, samples: Iterable[Sample]) -> None:
        """Note the size of each log; logs that are not among the samples are forgotten."""
        sizes = _of_routes(samples)
        before, self._sizes = self._sizes, {}
        for (name, route), number in sizes.items():
            is_size = name == USED or (name == SIZE and (USED, route) not in sizes)
            if is_size:
                known = before.get(route) or deque(maxlen=GROWTH_STEPS)
                if not known or now - known[-1].at >= GROWTH_STEP_S:
                    known.append(_Size(now, number))
                self._sizes[route] = known

    def rate(self, route: str, size: float, now: float) -> float | None:
        """Return the bytes a second by which a log grew to this size; None if not known yet."""
        oldest = self._sizes.get(route, ())
        if not oldest or now - oldest[0].at < GROWTH_STEP_S:
            return None
        return (size - oldest[0].size) / (now - oldest[0].at)


def log_view(route: RouteView, samples: Iterable[Sample], growth: Growth, now: float) -> LogView:
    """Return the place where a route's appends go."""
    prefix = route.prefix
    numbers = {name: number for (name, of), number in _of_routes(samples).items() if of == prefix}
    if route.kind == "http":
        facts = (*_of_servers(route), *_numbers(numbers, _OF_ORIGINS))
    else:
        facts = (
            *_role(numbers),
            *_numbers(numbers, _OF_LOGS),
            *_append_only(numbers),
            *_room(prefix, numbers, growth, now),
        )
    return LogView(prefix, route.origin, route.kind, route.state, facts)


def _of_servers(route: RouteView) -> Iterator[LogFact]:
    for server in route.servers:
        yield LogFact(server.name, server.state.words, "words", server.state.level)


_OF_ORIGINS: dict[str, tuple[str, Unit]] = {
    "headgate_origin_requests_in_flight": ("Requests at the origin now", "count"),
}
# A log has those of its kind alone. Its figures of Redis are those of the primary.
_OF_LOGS: dict[str, tuple[str, Unit]] = {
    "headgate_redis_memory_bytes": ("Memory of the primary", "bytes"),
    "headgate_redis_connected_replicas": ("Replicas", "count"),
    "headgate_redis_replica_lag_bytes": ("Slowest replica is behind by", "bytes"),
    "headgate_redis_round_trip_seconds": ("Round trip to the primary", "seconds"),
    "headgate_storage_streams": ("Streams", "count"),
    SIZE: ("Data file", "bytes"),
    USED: ("Used of max_storage_size", "bytes"),
    MOST: ("max_storage_size", "bytes"),
}


def _numbers(
    numbers: Mapping[str, float], names: Mapping[str, tuple[str, Unit]]
) -> Iterator[LogFact]:
    for metric, (name, unit) in names.items():
        if metric in numbers:
            yield LogFact(name, numbers[metric], unit)


def _role(numbers: Mapping[str, float]) -> Iterator[LogFact]:
    if (is_primary := numbers.get("headgate_redis_primary")) is not None:
        words, level = ("primary", "good") if is_primary else ("replica", "bad")
        yield LogFact("Role", words, "words", cast("Level", level))


def _append_only(numbers: Mapping[str, float]) -> Iterator[LogFact]:
    if (has_file := numbers.get("headgate_redis_aof_enabled")) is not None:
        words, level = ("on", "good") if has_file else ("off", "warning")
        yield LogFact("Append-only file", words, "words", cast("Level", level))


def _room(
    prefix: str, numbers: Mapping[str, float], growth: Growth, now: float
) -> Iterator[LogFact]:
    """Yield the free space of a log, and the time until it has none."""
    rooms = []
    if FREE in numbers:
        free = numbers[FREE]
        rooms.append(free)
        is_low = free < LEAST_FREE_BYTES
        yield LogFact("Free on the disk", free, "bytes", "warning" if is_low else None)
    if MOST in numbers:
        rooms.append(numbers[MOST] - numbers.get(USED, 0.0))
    size = numbers.get(USED, numbers.get(SIZE))
    if size is None or not rooms:
        return
    rate = growth.rate(prefix, size, now)
    if rate is None:
        yield LogFact("Time until full", "known in a minute", "words")
    elif rate <= 0:
        yield LogFact("Time until full", "not growing", "words")
    else:
        until = max(min(rooms), 0.0) / rate
        is_soon = until < SOON_S
        yield LogFact("Time until full", until, "seconds", "warning" if is_soon else None)


def _of_routes(samples: Iterable[Sample]) -> dict[tuple[str, str], float]:
    """Return the numbers that have only a route's prefix as their label."""
    return {
        (it.metric.name, it.values[0]): it.number
        for it in samples
        if it.metric.labels == ("route",)
    }
