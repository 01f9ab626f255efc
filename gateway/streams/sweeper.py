"""Background work on one log: expiry and reclaiming, in small steps."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from typing_extensions import override

from gateway.background import Background
from gateway.errors import HeadgateError
from gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from gateway.protocol.streams.state import ClockReading
    from gateway.streams.lifecycle import Lifecycle
    from gateway.streams.stream_table import StreamTable

T = TypeVar("T")

INTERVAL_S = 1.0
EXPIRIES = 200  # streams looked for in one round; when there are as many, the next follows at once
AT_ONCE = 50  # streams ended together: a few commits of the writer's time
AHEAD_S = 10.0  # from the clock of the log's server; NTP keeps clocks within milliseconds
STEPS = 20  # reclaiming steps in one round; each frees at most a thousand records


class Sweeper(Background):
    """The task that does rounds, INTERVAL_S apart; it stops between two steps."""

    def __init__(self, table: StreamTable, lifecycle: Lifecycle) -> None:
        self._table = table
        self._log = table.log
        self._lifecycle = lifecycle
        self._last_failure = ""  # the last failure, until a round without one
        self._logged_doubt: ClockReading | None = None
        self._has_logged_ahead = False
        self.expired = 0

    @override
    async def _run(self) -> None:
        await self._look()
        while True:
            await asyncio.sleep(INTERVAL_S)
            while await self.round():
                pass

    async def round(self) -> bool:
        """Do one round of everything; a step that fails is logged, and the others go on.

        While the wall clock is in doubt no stream is ended, and never one that has not expired by
        the clock of the log's server as well. A log that takes no removals has reported that, and
        is left alone. Return True if more streams are to be ended.
        """
        now = await self._look()
        upkeep = self._log.upkeep
        accepts = self._log.why_unhealthy() is None if upkeep is None else upkeep.accepts_removals()
        if not accepts:
            return False
        paths: Sequence[str] = ()
        removal_time = None
        if self._table.clock.in_doubt_since is None:
            sharing = self._log.sharing
            removal_time = now if sharing is None else await self._step(sharing.removal_time(now))
        if removal_time is not None:
            await self._compare(now, removal_time)
            now = removal_time
            paths = await self._step(self._log.expired(now, EXPIRIES)) or ()
        before = self.expired
        for start in range(0, len(paths), AT_ONCE):
            together = [
                self._lifecycle.expire(path, now) for path in paths[start : start + AT_ONCE]
            ]
            ended = await asyncio.gather(*map(self._step, together))
            self.expired += sum(map(bool, ended))
        if upkeep is not None:
            for _ in range(STEPS):
                if not await self._step(upkeep.reclaim()):
                    break
        return len(paths) == EXPIRIES and self.expired > before

    def note(self) -> ClockReading:
        """Look at the clocks, and let the log note them; return the present."""
        now = self._table.clock.look()
        noted = self._table.clock.to_note(now)
        if noted is not None and self._log.upkeep is not None:
            self._log.upkeep.note(noted)
        return now

    async def _look(self) -> ClockReading:
        """Note the time, and log once how many streams have expired by a clock in doubt."""
        now = self.note()
        doubted = self._table.clock.in_doubt_since
        if doubted is not None and doubted is not self._logged_doubt:
            count = await self._count_expired(doubted)
            if count:
                clock = self._table.clock
                log.warning(
                    "streams.expired_in_doubt",
                    route=clock.route,
                    count=count,
                    kept_for_s=clock.grace_s,
                )
        self._logged_doubt = doubted
        return now

    async def _count_expired(self, now: ClockReading) -> int:
        return await self._step(self._log.count_expired(now)) or 0

    async def _compare(self, now: ClockReading, removal_time: ClockReading) -> None:
        """Log once that the wall clock is ahead of the clock of the log's server."""
        ahead_s = now.wall - removal_time.wall
        if ahead_s > AHEAD_S and not self._has_logged_ahead:
            log.warning(
                "clock.ahead",
                route=self._table.clock.route,
                by_s=round(ahead_s, 3),
                count=await self._count_expired(now),
            )
        self._has_logged_ahead = ahead_s > AHEAD_S

    async def _step(self, step: Awaitable[T]) -> T | None:
        try:
            return await step
        except Exception as error:  # noqa: BLE001 - the sweeper has to outlive whatever happens
            reason = error.detail if isinstance(error, HeadgateError) else repr(error)
            if reason != self._last_failure:
                log.warning("sweep.failed", reason=reason)
            self._last_failure = reason
            return None
