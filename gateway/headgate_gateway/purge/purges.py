"""The purges of the caches in front of Headgate that the settings name.

Routes call `purge` when a stream is created or deleted; each cache has a queue and a task.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from headgate_gateway.protocol.cache_headers import PurgeTrust
from headgate_gateway.purge.purge_queue import GIVE_UP_S, Copies
from headgate_gateway.telemetry import metrics
from headgate_gateway.telemetry.health import HealthNote
from headgate_gateway.telemetry.metrics import Sample, counter, gauge

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from headgate_gateway.outbound.client import OutboundClient
    from headgate_gateway.purge.purger import Purger
    from headgate_gateway.settings import PurgedCache, Route

UNKNOWN_S = 5.0  # until the next look whether purges succeed
RESULTS = ("done", "failed", "widened", "abandoned")
PURGES = counter(
    "headgate_purges_total",
    "Purges of a stream in caches in front, by result.",
    "cache",
    "result",
)
WAITING = gauge(
    "headgate_purges_waiting", "Purges that caches in front have not carried out yet.", "cache"
)


def longest_copy_s(routes: Iterable[Route]) -> float:
    """Return the seconds for which caches may serve copies: a purge is retried for so long.

    They are a day at least, since HTTP origins set the lifetimes of their own responses, and two
    years at most, by the bounds of both settings.
    """
    lifetimes = (route.chunk_lifetime + route.stale_while_revalidate for route in routes)
    return max([GIVE_UP_S, *lifetimes])


class Purges:
    """The purges of all caches in front: one `Purger` and one task for each cache."""

    def __init__(
        self,
        caches: Sequence[PurgedCache],
        clock: Callable[[], float],
        *,
        wall_clock: Callable[[], float],
        retry_for_s: float = GIVE_UP_S,
        prefix: str = "",
    ) -> None:
        """`clock` returns seconds, from any zero; `wall_clock` is for the times in signed calls.

        A purge that fails is retried for `retry_for_s`. `prefix` is that of one of the routes.

        Raises StartError if the token of a cache is missing.
        """
        self._purgers: list[Purger] = []
        self._client: OutboundClient | None = None
        if caches:
            from headgate_gateway.outbound.client import (
                OutboundClient,  # most gateways purge no cache
            )
            from headgate_gateway.purge.drivers import driver_of
            from headgate_gateway.purge.purger import Purger

            self._client = OutboundClient("purge")
            self._purgers += (
                Purger(
                    driver_of(cache, wall_clock),
                    clock,
                    retry_for_s=retry_for_s,
                    prefix=prefix,
                )
                for cache in caches
            )
        self._tasks: list[asyncio.Task[None]] = []

    def purge(self, prefix: str, path: str) -> None:
        """Queue a purge of the stream at a canonical path, at every cache."""
        for purger in self._purgers:
            purger.purge(Copies(prefix, path))

    def trust(self) -> PurgeTrust:
        """Return the fields for caches whose purges succeed, and for how long that is known.

        A field counts if purges of every cache that goes by it have succeeded in the last minute,
        and none has failed since.
        """
        trusted: dict[str, float] = {}
        for purger in self._purgers:
            if field := purger.driver.field:
                for_s = purger.trusted_for_s()
                trusted[field] = min(for_s, trusted.get(field, for_s))
        if not trusted:
            return PurgeTrust()
        fields = tuple(field for field, for_s in trusted.items() if for_s)
        return PurgeTrust(fields, min((trusted[field] for field in fields), default=UNKNOWN_S))

    def notes(self) -> Iterator[HealthNote]:
        """Yield why each cache is unhealthy, or None; caches may share a name."""
        for purger in self._purgers:
            subject = f"{purger.driver.kind} {purger.driver.place}"
            yield HealthNote("purge", subject, purger.cause())

    def samples(self) -> metrics.Snapshot:
        """Return the metrics, summed over all caches of a kind."""
        return metrics.together([tuple(self._samples_of(purger)) for purger in self._purgers])

    @staticmethod
    def _samples_of(purger: Purger) -> Iterator[Sample]:
        kind = purger.driver.kind
        for result in RESULTS:
            yield Sample(PURGES, (kind, result), purger.counts[result])
        yield Sample(WAITING, (kind,), purger.queue.undone)

    def open(self) -> None:
        """Start a task for each cache."""
        if self._client is not None:
            runs = [purger.run(self._client) for purger in self._purgers]
            self._tasks = [asyncio.create_task(run) for run in runs]

    async def drain(self) -> None:
        """Wait until every cache has confirmed its purges, or has failed once more."""
        for purger in self._purgers:
            purger.stop()
        await asyncio.gather(*self._tasks)

    async def close(self) -> None:
        """Stop the tasks, and log the purges that are left undone."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for purger in self._purgers:
            purger.abandon(math.inf)
        if self._client is not None:
            await self._client.close()
