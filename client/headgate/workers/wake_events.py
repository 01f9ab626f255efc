"""The wake streams of a worker's subscriptions, followed for as long as it works."""

from __future__ import annotations

import asyncio
import logging
import math
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from headgate import following
from headgate.errors import ABSENT
from headgate.names import path_url, stream_url
from headgate.retries import Backoff, Retries
from headgate.workers.claims import SubscriptionDocument, WakeEvent, decoded
from headgate.workers.schedule import FIRST_WAIT_S, LONGEST_WAIT_S

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate.stream_requests import StreamRequests
    from headgate.workers.schedule import ClaimSchedule

log = logging.getLogger("headgate")


def control_url(base: str, subscription_id: str) -> str:
    """Return the URL of a subscription of the streams below `base`."""
    return stream_url(path_url(base, "__ds/subscriptions"), subscription_id)


async def follow(
    base: StreamRequests, schedule: ClaimSchedule, subscription_ids: Iterable[str]
) -> None:
    """Make each subscription due now, and with each event of its wake stream; return never.

    Raises StreamError for what does not pass, and ValueError for another subscription.
    """
    streams: dict[str, list[str]] = {}
    for subscription_id in subscription_ids:
        streams.setdefault(await _wake_stream(base, subscription_id), []).append(subscription_id)
    async with asyncio.TaskGroup() as group:
        for path, woken in streams.items():
            stream = base.beside(path_url(base.url, path))
            group.create_task(_follow(stream, schedule, woken))


async def _wake_stream(base: StreamRequests, subscription_id: str) -> str:
    control = base.beside(control_url(base.url, subscription_id))

    async def attempt() -> bytes:
        async with control.request("GET") as answer:
            return await answer.read()

    found = decoded(await _retries().run(attempt), SubscriptionDocument, control.shown).wake_stream
    if found is None:
        raise ValueError(f"{control.shown}: a worker is for pull-wake subscriptions")
    return found


async def _follow(
    stream: StreamRequests, schedule: ClaimSchedule, subscription_ids: Iterable[str]
) -> None:
    absences = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
    while True:
        try:
            # First the tail, then the claims: no event falls in between.
            tail = (await _retries().run(stream.head)).next_offset
            for subscription_id in subscription_ids:
                schedule.wake(subscription_id)
            async with aclosing(following.follow(stream, tail)) as batches:
                async for batch in batches:
                    absences.reset()
                    for body in batch.bodies:
                        for event in decoded(body, list[WakeEvent], stream.shown):
                            schedule.wake(event.subscription_id)
            reason = "the wake stream is closed"
        except ABSENT as refusal:
            reason = str(refusal)
        wait_s = absences.next_s()
        log.warning("%s; looking again in %.1f s", reason, wait_s)
        await asyncio.sleep(wait_s)


def _retries() -> Retries:
    return Retries(math.inf, (FIRST_WAIT_S, LONGEST_WAIT_S), log.warning)
