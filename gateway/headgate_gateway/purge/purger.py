"""The queue of purges for one cache in front of Headgate, and the task that sends them."""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections import Counter
from typing import TYPE_CHECKING

from yarl import URL

from headgate_gateway.outbound.client import OutboundClient, OutboundRequest, pauses
from headgate_gateway.outbound.failures import NoResponse
from headgate_gateway.purge.purge_queue import (
    GIVE_UP_S,
    MOST_WAITING,
    SETTLE_S,
    Copies,
    PendingPurge,
    PurgeQueue,
)
from headgate_gateway.rules.directives import again_s
from headgate_gateway.telemetry.health import Cause
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import Callable

    from headgate_gateway.purge.drivers import Driver

CALL_S = 10.0  # seconds for one call, from the connection to the end of the response
# Seconds for which a purge that succeeded shows that the next one will. While responses go by this,
# and for NEEDED_S after the last one, a purge of nothing is sent every CHECKED_EVERY_S.
TRUSTED_S, CHECKED_EVERY_S, NEEDED_S = 60.0, 45.0, 180.0


class Purger:
    """The purges of one cache: each is sent again until the cache confirms it.

    `Purges` queues them and runs the task. There is one call at a time, and purges that are queued
    meanwhile go into the next call.
    """

    def __init__(
        self,
        driver: Driver,
        clock: Callable[[], float],
        *,
        retry_for_s: float = GIVE_UP_S,
        prefix: str = "",
    ) -> None:
        """`clock` returns seconds, from any zero.

        A purge is given up `retry_for_s` after the last change of its stream. `prefix` is that of
        a route, whose paths this cache can purge.
        """
        self.driver = driver
        self.counts: Counter[str] = Counter()  # by result
        self.queue = PurgeQueue(MOST_WAITING)
        self._clock = clock
        self._give_up_s = retry_for_s
        self._backoff = pauses()
        self._reason = ""  # of the last failure
        self._nothing = Copies(prefix, f"{prefix}/.headgate/purge-check")  # no stream has the name
        self._succeeded_at = self._needed_until = -math.inf
        self._has_work = asyncio.Event()
        self._stopping = asyncio.Event()

    def purge(self, copies: Copies) -> None:
        """Queue a purge of `copies`, which is made after the settling time."""
        widened = self.queue.widened
        self.queue.add(copies, PendingPurge.at(self._clock()))
        if more := self.queue.widened - widened:
            self.counts["widened"] += more
            log.warning("purge.widened", **self._labels(), route=copies.prefix)
        self._has_work.set()

    def trusted_for_s(self) -> float:
        """Return for how many seconds purges are known to succeed; 0 if the last one failed."""
        now = self._clock()
        is_news = self._needed_until <= now
        self._needed_until = now + NEEDED_S
        if is_news:
            self._has_work.set()
        if self._reason or self.queue.failed:
            return 0.0
        return max(0.0, self._succeeded_at + TRUSTED_S - now)

    def cause(self) -> Cause | None:
        """Return why purges have failed; None if none has."""
        if not (failed := self.queue.failed):
            return None
        return Cause("purges_wait", {"reason": self._reason, "count": failed})

    async def run(self, client: OutboundClient) -> None:
        """Send purges until `stop`, and then until all are done or have failed once more."""
        while True:
            self._has_work.clear()
            if not self.queue:
                if self._stopping.is_set():
                    return
                await self._wait_for_work()
                continue
            until = self._clock() - SETTLE_S
            young_s = self.queue.next_since - until
            if young_s > 0:
                await asyncio.sleep(young_s)
                continue
            wait_s = await self._attempt(client, until)
            if self._stopping.is_set():
                if self.queue and self.queue.failed == len(self.queue):
                    return
            elif wait_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(wait_s):
                        await self._stopping.wait()

    def stop(self) -> None:
        """Stop waiting between attempts, and try what is queued."""
        self._stopping.set()
        self._has_work.set()

    def abandon(self, before: float) -> None:
        """Drop the purges whose stream has not changed since `before`, by the clock."""
        abandoned = self.queue.drop(before)
        if abandoned:
            self.counts["abandoned"] += abandoned
            log.error("purge.abandoned", **self._labels(), purges=abandoned, reason=self._reason)
            if not self.queue.failed:
                self._reason = ""

    async def _wait_for_work(self) -> None:
        """Wait until purges are queued; queue one of nothing when it is time to check them."""
        now = self._clock()
        check_in_s = None
        if now < self._needed_until:
            check_in_s = max(0.0, self._succeeded_at + CHECKED_EVERY_S - now)
        try:
            async with asyncio.timeout(check_in_s):
                await self._has_work.wait()
        except TimeoutError:
            self.purge(self._nothing)

    async def _attempt(self, client: OutboundClient, until: float) -> float:
        """Send the purges queued before `until` in one call; return the pause in seconds."""
        started = self.queue.start(self.driver.at_once, until)
        reason, retry_after_s = "was not asked to the end", 0
        try:
            reason, retry_after_s = await self._call(client, started)
        except Exception as error:  # noqa: BLE001 - else this task ends unnoticed
            reason = f"could not be asked ({type(error).__name__})"
            if reason != self._reason:
                log.exception("purge.broken", **self._labels())
        finally:
            if reason:
                self.queue.requeue()
        if not reason:
            self.queue.finish()
            self._succeeded_at = self._clock()
            self.counts["done"] += len(started)
            self._backoff.reset()
            if self._reason and not self.queue.failed:
                log.info("purge.recovered", **self._labels())
                self._reason = ""
            return 0.0
        self.counts["failed"] += len(started)
        if reason != self._reason:
            self._reason = reason
            log.warning("purge.failed", **self._labels(), reason=reason, waiting=self.queue.undone)
        self.abandon(self._clock() - self._give_up_s)
        return max(self._backoff.next_s(), float(retry_after_s))

    async def _call(self, client: OutboundClient, copies: list[Copies]) -> tuple[str, int]:
        """Make one call. Return why it failed, or "", and the seconds of its Retry-After, or 0.

        The reason contains no secret, and none of the vendor's own words.
        """
        call = self.driver.call(copies)
        url = URL(f"{self.driver.url}{call.target}", encoded=True)
        request = OutboundRequest(call.method, url, call.headers, call.body or None)
        try:
            response = await client.call(request, CALL_S)
        except NoResponse as failure:
            return failure.why, 0
        reason = self.driver.why_not(response.status, response.body) or ""
        return reason, again_s(response.headers) or 0

    def _labels(self) -> dict[str, str]:
        return {"cache": self.driver.kind, "place": self.driver.place}
