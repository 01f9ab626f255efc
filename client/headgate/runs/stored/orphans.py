"""Runs without a producer: they wait for another one where they may, and else are ended."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.errors import ABSENT, StreamClosed
from headgate.records import ORPHANED, RunState
from headgate.runs.stored import claims
from headgate.runs.stored.lookups import how_it_ended, last_items

if TYPE_CHECKING:
    from headgate.runs.stored.places import Place
    from headgate.stream import Stream

ACTIVE = RunState("active")
WAITING = RunState("orphaned", "its producer is gone, and it can be taken over")
STOPPED = RunState("stopped")


async def is_active(run: Place) -> bool:
    """Return whether the run goes on, or may; end any other. Raises ABSENT if there is none."""
    return not (await run.items.head()).is_closed and await end_if_orphaned(run) is not ORPHANED


async def state_of(run: Place) -> RunState | None:
    """Return what has become of a run; None if there is none."""
    try:
        if not (await run.items.head()).is_closed:
            found = await end_if_orphaned(run)
            if found is not ORPHANED:
                return found
        return await how_it_ended(run)
    except ABSENT:
        return None


async def end_if_orphaned(run: Place) -> RunState:
    """End the run if it has no producer and waits for none; return ACTIVE, WAITING or ORPHANED.

    Where the run has a producer, its lease alone is looked at.
    """
    if await _is_held(run.lease):
        return ACTIVE
    if await _is_held(run.wait):
        return WAITING
    return ORPHANED if await _ended(run, ORPHANED, even_waiting=False) else ACTIVE


async def stop_waiting(run: Place) -> bool:
    """Stop a run that waits for a producer; end any other that has none."""
    return await end_if_orphaned(run) is WAITING and await _ended(run, STOPPED, even_waiting=True)


async def _ended(run: Place, state: RunState, *, even_waiting: bool) -> bool:
    """End the run if nobody produces it; return whether it has ended, by whomever."""

    async def is_orphan() -> bool:
        return not await _is_held(run.lease) and (even_waiting or not await _is_held(run.wait))

    items = await last_items(run, state)
    try:
        epoch = await claims.claim(run.items, items, is_closing=True, may_claim=is_orphan)
    except StreamClosed:
        return True
    return epoch is not None


async def _is_held(lease: Stream) -> bool:
    return await lease.find() is not None
