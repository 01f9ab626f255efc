"""Turns to claim: the subscriptions of a worker that are due by events, or behind pauses."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING

from headgate.retries import Backoff

if TYPE_CHECKING:
    from collections.abc import Iterable

# Behind a job that failed; other workers may try it meanwhile.
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# Behind a request that the server did not answer, or a wake stream that is not there.
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 30.0


class ClaimTurn:
    """The turns of one subscription: whether it is to be claimed, and from when on."""

    def __init__(self, subscription_id: str) -> None:
        self.subscription_id = subscription_id
        self.is_due = False
        self.is_claimed = False  # by this worker
        self.not_before = 0.0
        self.pauses = Backoff(FIRST_PAUSE_S, LONGEST_PAUSE_S, random.random)
        self.waits = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)

    def postpone(self, pause_s: float) -> None:
        """Claim the subscription again behind a pause, also if no event comes."""
        self.is_due = True
        self.not_before = asyncio.get_running_loop().time() + pause_s


class ClaimSchedule:
    """The turns of a worker's subscriptions, in the order in which they became due."""

    def __init__(self, subscription_ids: Iterable[str]) -> None:
        self._turns = {name: ClaimTurn(name) for name in dict.fromkeys(subscription_ids)}
        self._changed = asyncio.Event()

    def wake(self, subscription_id: str) -> None:
        """Make a subscription due, if it is one of the worker's."""
        turn = self._turns.get(subscription_id)
        if turn is not None:
            turn.is_due = True
            self._changed.set()

    def notify(self) -> None:
        """End the `wait` under way, because something else has changed."""
        self._changed.set()

    def next_turn(self) -> ClaimTurn | None:
        """Return a subscription that is to be claimed now, or None."""
        now = asyncio.get_running_loop().time()
        for name, turn in self._turns.items():
            if turn.is_due and not turn.is_claimed and turn.not_before <= now:
                turn.is_due = False
                self._turns[name] = self._turns.pop(name)  # behind the others
                return turn
        return None

    async def wait(self) -> None:
        """Wait for an event, a notification, or the end of a pause."""
        pauses = [it.not_before for it in self._turns.values() if it.is_due and not it.is_claimed]
        now = asyncio.get_running_loop().time()
        later = [moment for moment in pauses if moment > now]
        try:
            async with asyncio.timeout_at(min(later, default=None)):
                await self._changed.wait()
        except TimeoutError:
            return
        self._changed.clear()
