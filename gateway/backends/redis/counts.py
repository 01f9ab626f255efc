"""The counts of a log in Redis, which its route reads for the metrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from typing_extensions import override

from gateway.backends.contract import Counts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gateway.backends.redis.commits import RedisCommits
    from gateway.backends.redis.deadline_index import DeadlineIndex
    from gateway.backends.redis.servers.losses import LossWatch
    from gateway.backends.redis.servers.notifications import Notifications
    from gateway.backends.redis.servers.server_status import ServerStatusWatch
    from gateway.protocol.streams.moments import ClockReading
    from gateway.telemetry.metrics import Histogram

MOST_COUNTED = 1000  # expired streams; each takes a call to Redis


class RedisCounts(Counts):
    """The counts of a log in Redis, and the state of its servers."""

    def __init__(
        self,
        commits: RedisCommits,
        deadlines: DeadlineIndex,
        server_status: ServerStatusWatch,
        losses: LossWatch,
        notifications: Notifications,
    ) -> None:
        self._commits = commits
        self._deadlines = deadlines
        self._server_status = server_status
        self._losses = losses
        self._notifications = notifications

    @override
    def histograms(self) -> Mapping[str, Histogram]:
        """Return the sizes of commits, how long they wait, and how long Redis takes."""
        return self._commits.histograms.by_name("appends", "queue", "write")

    @override
    def numbers(self) -> Mapping[str, float]:
        """Return the counts; the state of the servers is that of the last check."""
        return {
            **self._server_status.numbers,
            "commits": self._commits.stored,
            "conflicts": self._commits.conflicts,
            "followed": len(self._notifications),
            **{f"histories_{lost}": count for lost, count in self._losses.counts.items()},
        }

    @override
    async def count_expired(self, now: ClockReading) -> int:
        return len(await self._deadlines.expired(now.wall, MOST_COUNTED))
