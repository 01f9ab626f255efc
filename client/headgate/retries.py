"""The waits between attempts, and repetitions of requests that do no harm when made twice."""

from __future__ import annotations

import asyncio
import math
import random
from typing import TYPE_CHECKING, TypeVar

from headgate.errors import Unavailable

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

MOST_DOUBLINGS = 20  # so that days of failures overflow nothing


def wait_s(failures: int, first_s: float, longest_s: float, chance: float = 1.0) -> float:
    """Return the wait in seconds after one more failure than `failures`.

    `chance` in [0, 1] spreads the clients: they do not all come back at once, nor before half
    of the time.
    """
    grown = first_s * 2.0 ** min(failures, MOST_DOUBLINGS)
    return min(grown, longest_s) * (0.5 + chance / 2)


class Backoff:
    """The waits between a client's attempts, each spread by a `chance` of its own."""

    def __init__(
        self, first_s: float, longest_s: float, chance: Callable[[], float] = lambda: 1.0
    ) -> None:
        self._first_s = first_s
        self._longest_s = longest_s
        self._chance = chance
        self._failures = 0

    def reset(self) -> None:
        """Start again at the first wait, because the last attempt succeeded."""
        self._failures = 0

    def next_s(self) -> float:
        """Count one more failure, and return the wait after it in seconds."""
        wait = wait_s(self._failures, self._first_s, self._longest_s, self._chance())
        self._failures += 1
        return wait


class Retries:
    """The waits after failures that may pass: of a server that restarts or is busy.

    They end `time_s` seconds after the first of the failures in a row, or where at `most` so many
    are waited out, after the last one. Where the server asks for a longer wait than there is time
    for, its refusal is raised; one that `hurries` tries again all the same, as another refusal
    costs nothing. The `waits` in seconds are the first one, which is doubled for each failure, and
    the longest. `note` is called with a sentence for each.
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
