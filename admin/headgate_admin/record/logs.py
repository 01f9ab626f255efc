"""Storages and origins of routes: how full one is and when it will be, or which servers answer."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Literal, NamedTuple

from headgate_admin.model.overview import PlaceFact
from headgate_gateway.monitoring.alerts_of_parts import LEAST_FREE_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from headgate_admin.model.kinds import Level
    from headgate_gateway.telemetry.metrics import Sample

    Unit = Literal["count", "bytes", "seconds"]

USED, MOST = "headgate_storage_used_bytes", "headgate_storage_max_bytes"
SIZE, FREE = "headgate_storage_size_bytes", "headgate_storage_free_bytes"
GROWTH_STEP_S = 60.0
GROWTH_STEPS = 16  # a quarter of an hour: longer than a burst, and soon right after one
SOON_S = 24 * 3600.0  # in which a log will be full: an operator's next working day

# Each kind of log has some of them. The figures of Redis are those of the primary.
_FACTS: dict[str, tuple[str, Unit]] = {
    "headgate_origin_requests_in_flight": ("Requests at the origin now", "count"),
    "headgate_redis_memory_bytes": ("Memory of the primary", "bytes"),
    "headgate_redis_connected_replicas": ("Replicas", "count"),
    "headgate_redis_replica_lag_bytes": ("Slowest replica is behind by", "bytes"),
    "headgate_redis_round_trip_seconds": ("Round trip to the primary", "seconds"),
    "headgate_storage_streams": ("Streams", "count"),
    SIZE: ("Data file", "bytes"),
    USED: ("Used of max_storage_size", "bytes"),
    MOST: ("max_storage_size", "bytes"),
}
# The words for a gauge that is 1, and those for 0.
_STATES: dict[str, tuple[str, tuple[str, Level], tuple[str, Level]]] = {
    "headgate_redis_primary": ("Role", ("primary", "good"), ("replica", "bad")),
    "headgate_redis_aof_enabled": ("Append-only file", ("on", "good"), ("off", "warning")),
}


class RouteNumbers(NamedTuple):
    """The numbers of a route by their metric, and those with another label by its value, too."""

    plain: dict[str, float]
    labelled: dict[str, dict[str, float]]


class RouteGauges:
    """The numbers of all routes at the last look, and the growth of their logs."""

    def __init__(self) -> None:
        self._numbers: dict[str, RouteNumbers] = {}
        self._sizes: dict[str, deque[tuple[float, float]]] = {}  # by moments, in bytes

    def update(self, now: float, samples: Iterable[Sample]) -> None:
        """Take the numbers of a look, and forget routes that are not there any more."""
        self._numbers = {}
        for sample in samples:
            if sample.metric.labels[:1] == ("route",):
                numbers = self._numbers.setdefault(sample.values[0], RouteNumbers({}, {}))
                name, labels = sample.metric.name, sample.values[1:]
                if not labels:
                    numbers.plain[name] = sample.number
                elif len(labels) == 1:
                    numbers.labelled.setdefault(name, {})[labels[0]] = sample.number
        before, self._sizes = self._sizes, {}
        for prefix, numbers in self._numbers.items():
            size = _size(numbers.plain)
            if size is not None:
                sizes = before.get(prefix) or deque(maxlen=GROWTH_STEPS)
                if not sizes or now - sizes[-1][0] >= GROWTH_STEP_S:
                    sizes.append((now, size))
                self._sizes[prefix] = sizes

    def of(self, prefix: str) -> RouteNumbers:
        """Return the numbers of a route."""
        return self._numbers.get(prefix) or RouteNumbers({}, {})

    def growth(self, prefix: str, size: float, now: float) -> float | None:
        """Return the bytes a second by which a log grew to this size; None if not known yet."""
        sizes = self._sizes.get(prefix, ())
        if not sizes or now - sizes[0][0] < GROWTH_STEP_S:
            return None
        began, former = sizes[0]
        return (size - former) / (now - began)


def facts(prefix: str, gauges: RouteGauges, now: float) -> tuple[PlaceFact, ...]:
    """Return what is known of the storage or the origin of a route."""
    numbers = gauges.of(prefix)
    return (*_servers(numbers), *_facts(numbers.plain), *_room(prefix, gauges, now))


def _servers(numbers: RouteNumbers) -> Iterator[PlaceFact]:
    """Yield the state of each server of an origin, in the order of their metrics."""
    failing = numbers.labelled.get("headgate_origin_failing", {})
    for server, is_up in numbers.labelled.get("headgate_origin_up", {}).items():
        if is_up and not failing.get(server):
            yield PlaceFact(server, "up", "words", "good")
        else:
            words = "up, answers with errors only" if is_up else "down"
            yield PlaceFact(server, words, "words", "bad")


def _facts(numbers: Mapping[str, float]) -> Iterator[PlaceFact]:
    for metric, (name, if_one, if_zero) in _STATES.items():
        if metric in numbers:
            words, level = if_one if numbers[metric] else if_zero
            yield PlaceFact(name, words, "words", level)
    for metric, (name, unit) in _FACTS.items():
        if metric in numbers:
            yield PlaceFact(name, numbers[metric], unit)


def _size(numbers: Mapping[str, float]) -> float | None:
    return numbers.get(USED, numbers.get(SIZE))


def _room(prefix: str, gauges: RouteGauges, now: float) -> Iterator[PlaceFact]:
    """Yield the free space of a log, and the time until it has none."""
    numbers = gauges.of(prefix).plain
    rooms = []
    if FREE in numbers:
        rooms.append(numbers[FREE])
        is_low = numbers[FREE] < LEAST_FREE_BYTES
        yield PlaceFact("Free on the disk", numbers[FREE], "bytes", "warning" if is_low else None)
    if MOST in numbers:
        rooms.append(numbers[MOST] - numbers.get(USED, 0.0))
    size = _size(numbers)
    if size is None or not rooms:
        return
    rate = gauges.growth(prefix, size, now)
    if rate is None:
        yield PlaceFact("Time until full", "known in a minute", "words")
    elif rate <= 0:
        yield PlaceFact("Time until full", "not growing", "words")
    else:
        until = max(min(rooms), 0.0) / rate
        is_soon = until < SOON_S
        yield PlaceFact("Time until full", until, "seconds", "warning" if is_soon else None)
