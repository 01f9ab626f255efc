"""The wake streams of a worker's subscriptions, followed for as long as it works."""

from __future__ import annotations

import asyncio
import math
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from headgate.backoff import Backoff
from headgate.errors import ABSENT
from headgate.names import path_url, stream_url
from headgate.retries import Retries
from headgate.workers.claims import SubscriptionDocument, WakeEvent, decoded
from headgate.workers.schedule import FIRST_WAIT_S, LONGEST_WAIT_S, ClaimSchedule

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from headgate.stream_requests import StreamRequests


def control_url(base: str, subscription: str) -> str:
    """Return the URL of a subscription of the streams below `base`."""
    return stream_url(path_url(base, "__ds/subscriptions"), subscription)


class WakeEvents:
    """The events of the wake streams, which make subscriptions due for a claim."""

    def __init__(
        self, base: StreamRequests, schedule: ClaimSchedule, note: Callable[[str], None]
    ) -> None:
        self._base = base
        self._schedule = schedule
        self._note = note

    async def follow(self, subscriptions: Iterable[str]) -> None:
        """Make each subscription due now, and with each of its events; return never.

        Raises StreamError for what does not pass, and ValueError for another subscription.
        """
        streams: dict[str, list[str]] = {}
        for subscription in subscriptions:
            streams.setdefault(await self._wake_stream(subscription), []).append(subscription)
        async with asyncio.TaskGroup() as group:
            for path, woken in streams.items():
                group.create_task(self._follow(path, woken))

    async def _wake_stream(self, subscription: str) -> str:
        control = self._base.beside(control_url(self._base.url, subscription))

        async def attempt() -> bytes:
            async with control.request("GET") as answer:
                return await answer.read()

        body = await self._retries().run(attempt)
        found = decoded(body, SubscriptionDocument, control.shown).wake_stream
        if found is None:
            raise ValueError(f"{control.shown}: a worker is for pull-wake subscriptions")
        return found

    async def _follow(self, path: str, subscriptions: Iterable[str]) -> None:
        stream = self._base.beside(path_url(self._base.url, path))
        absences = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
        while True:
            try:
                # First the tail, then the claims: no event falls in between.
                tail = (await self._retries().run(stream.head)).next_offset
                for subscription in subscriptions:
                    self._schedule.wake(subscription)
                async with aclosing(stream.follow(tail)) as batches:
                    async for batch in batches:
                        absences.reset()
                        for body in batch.bodies:
                            for event in decoded(body, list[WakeEvent], stream.shown):
                                self._schedule.wake(event.subscription_id)
                reason = "the wake stream is closed"
            except ABSENT as refusal:
                reason = str(refusal)
            wait_s = absences.next_s()
            self._note(f"{reason}; looking again in {wait_s:.1f} s")
            await asyncio.sleep(wait_s)

    def _retries(self) -> Retries:
        return Retries(math.inf, (FIRST_WAIT_S, LONGEST_WAIT_S), self._note)
