"""Repetitions of requests that do no harm when they are made twice."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, TypeVar

from headgate.backoff import Backoff
from headgate.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")


class Retries:
    """The waits after failures that may pass: of a server that restarts or is busy.

    Where the server asks for a longer wait than there is time for, its refusal is raised.

    Args:
        time_s: Seconds from the first of the failures in a row on; where they are counted, from
            the last one on.
        waits: Seconds of the first wait, which are doubled for each failure, and at most.
        note: Called with a sentence for each retry.
        most: How many failures in a row are waited out.
        hurries: Whether a Retry-After beyond the time is ignored: another refusal costs nothing.
    """

    def __init__(
        self,
        time_s: float,
        waits: tuple[float, float],
        note: Callable[[str], None],
        *,
        most: float = math.inf,
        hurries: bool = False,
    ) -> None:
        self._time_s = time_s
        self._backoff = Backoff(*waits, random.random)
        self._note = note
        self._most = most
        self._hurries = hurries
        self._failures = 0
        self._since = 0.0

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat the attempt until it succeeds, and return its result."""
        while True:
            try:
                result = await attempt()
            except Unavailable as refusal:
                await self.wait(refusal)
            else:
                self.succeed()
                return result

    async def wait(self, refusal: Unavailable) -> None:
        """Wait before the next attempt. Raises the refusal if there is to be none."""
        now = asyncio.get_running_loop().time()
        if not self._failures or self._most < math.inf:
            self._since = now
        left_s = self._since + self._time_s - now
        retry_after_s = refusal.retry_after
        if self._hurries and retry_after_s > left_s:
            retry_after_s = 0.0
        if self._failures >= self._most or left_s <= 0 or retry_after_s > left_s:
            self.reset()
            raise refusal
        self._failures += 1
        # A last attempt is made when the time is over, not some time before.
        wait_s = min(max(self._backoff.next_s(), retry_after_s), left_s)
        self._note(f"{refusal}; trying again in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)

    def succeed(self) -> None:
        """Begin anew with the next failure."""
        if self._failures:
            self._note("connected again")
            self.reset()

    def reset(self) -> None:
        """Forget the failures so far."""
        self._failures = 0
        self._backoff.reset()
