"""The heartbeats of a run's producer, by which others know that it lives."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from headgate.errors import ABSENT, Fenced, StreamError

if TYPE_CHECKING:
    from headgate.lease import Lease
    from headgate.runs.stored.places import Place

log = logging.getLogger("headgate.runs")

# Of a heartbeat, which else has the time until the next one is due: no answer is waited for longer,
# since a server that hung may be back.
SHORTEST_TIMEOUT_S = 1.0
LONGEST_PAUSE_S = 1.0  # until one that failed is tried again: others wait for it


async def keep(run: Place, lease: Lease, epoch: int) -> None:
    """Renew the lease until the run is another producer's, or has ended."""
    time = asyncio.get_running_loop().time
    while True:
        next_at = time() + lease.beat_s
        try:
            async with asyncio.timeout(max(lease.beat_s, SHORTEST_TIMEOUT_S)):
                if not await _has_beaten(run, lease, epoch):
                    return
        except (StreamError, TimeoutError) as error:
            log.info("run %r: no heartbeat: %s", run.id, error)
            next_at = min(next_at, time() + LONGEST_PAUSE_S)
        await asyncio.sleep(max(0.0, next_at - time()))


async def _has_beaten(run: Place, lease: Lease, epoch: int) -> bool:
    """Renew the lease, or take it again; False when the run is somebody else's, or has ended."""
    try:
        await lease.beat(epoch)
    except Fenced:
        return False
    except ABSENT:
        return await _has_taken_again(run, lease, epoch)
    return True


async def _has_taken_again(run: Place, lease: Lease, epoch: int) -> bool:
    """Take the lease again, unless the run was ended meanwhile."""
    try:
        if (await run.items.head()).is_closed:
            return False
        await lease.take()
        await lease.beat(epoch)
    except (Fenced, *ABSENT):
        return False
    return True
