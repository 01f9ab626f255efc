"""Deleting a run, which is stopped before."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from headgate.errors import ABSENT

if TYPE_CHECKING:
    from headgate.runs.stored.places import Place

LOOK_AGAIN_S = 0.05  # for the end of a producer, which comes within milliseconds of a stop


async def delete(run: Place, *, end_within_s: float) -> bool:
    """Delete the streams of a run; False if there was none.

    A producer that has been asked to stop is waited for, for so long: what it writes once its
    stream is gone is refused.
    """
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(end_within_s):
            await _wait_until_given_up(run)
    is_there = True
    try:
        await run.items.delete()
    except ABSENT:
        is_there = False
    for beside in (run.index, run.wait, run.stop, run.grace, run.lease):
        with contextlib.suppress(*ABSENT):
            await beside.delete()
    return is_there


async def _wait_until_given_up(run: Place) -> None:
    """Wait until nobody produces the run any more."""
    while await run.lease.find() is not None:  # noqa: ASYNC110 - whoever gives it up may be elsewhere
        await asyncio.sleep(LOOK_AGAIN_S)
