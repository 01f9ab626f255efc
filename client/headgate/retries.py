"""Trying again for a while, where trying twice does no harm."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from headgate.errors import TOO_MANY_REQUESTS, Unavailable, check_number

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.backoff import Backoff

T = TypeVar("T")


class Retries:
    """Waits out what may pass: a server that restarts or is busy. With no time it waits for none.

    The time counts from the first of the failures in a row. A refusal by a limit (429) has done
    nothing, so that it may be waited out where twice would do harm: for `limited_s`.
    """

    def __init__(
        self,
        time_s: float,
        backoff: Backoff,
        note: Callable[[str], None],
        limited_s: float = 0.0,
        *,
        gives_up: Callable[[Unavailable], bool] = lambda _: False,
        hurries: bool = False,
    ) -> None:
        """Raise a refusal that `gives_up` returns True for, also where it may pass.

        Where the server asks for a longer wait than there is time for, that is raised as well. One
        that `hurries` tries again sooner instead: nothing is lost by another refusal.
        """
        check_number("retry_for", time_s)
        self._time_s = time_s
        self._limited_s = max(time_s, limited_s)
        self._backoff = backoff
        self._note = note
        self._gives_up = gives_up
        self._hurries = hurries

    async def run(self, attempt: Callable[[], Awaitable[T]]) -> T:
        """Repeat the attempt until it succeeds, and return its result."""
        loop = asyncio.get_running_loop()
        since: float | None = None
        while True:
            try:
                result = await attempt()
            except Unavailable as refusal:
                since = loop.time() if since is None else since
                time_s = self._limited_s if refusal.status == TOO_MANY_REQUESTS else self._time_s
                left_s = since + time_s - loop.time()
                is_final = self._gives_up(refusal)
                asked_s = refusal.retry_after
                if self._hurries and asked_s > left_s:
                    asked_s = 0.0
                if is_final or left_s <= 0 or asked_s > left_s:
                    raise
                # A last attempt is made when the time is over, not some time before.
                wait_s = min(max(self._backoff.next_s(), asked_s), left_s)
                self._note(f"{refusal}; trying again in {wait_s:.1f} s")
                await asyncio.sleep(wait_s)
            else:
                self._backoff.reset()
                if since is not None:
                    self._note("connected again")
                return result
