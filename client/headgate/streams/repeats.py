"""Repeating requests a few times, where a second one does no harm."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, TypeVar

from headgate.backoff import wait_s
from headgate.errors import Unavailable, check_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 8.0
MOST_RETRY_AFTER_S = 60.0  # a caller waits no longer than this for one repetition


class Repeats:
    """Repeats a request that failed for now, up to a number of times.

    Args:
        most: How many times.
    """

    def __init__(self, most: int) -> None:
        check_number("retries", most, is_whole=True)
        self._most = most

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Return the result of the first attempt that succeeds."""
        failures = 0
        while True:
            try:
                return await attempt()
            except Unavailable as refusal:
                await self.pause(failures, refusal)
                failures += 1

    async def pause(self, failures: int, refusal: Unavailable) -> None:
        """Wait before the next attempt, after so many failures before this one.

        Raises the refusal if there is to be none.
        """
        if failures >= self._most or refusal.retry_after > MOST_RETRY_AFTER_S:
            raise refusal
        wait = wait_s(failures, FIRST_WAIT_S, LONGEST_WAIT_S, random.random())  # noqa: S311 - no secret
        await asyncio.sleep(max(wait, refusal.retry_after))
