"""The largest streams of a log, searched for the console and cached for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

from headgate.shielding import shielded
from headgate_gateway.errors import LimitReached
from headgate_gateway.logs.contract import listing_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headgate_gateway.logs.contract import Log

MOST = 1_000  # streams of a survey: twenty pages, further than people leaf
KEPT_S = 60.0  # a survey looks at every stream, so one a minute is enough
MOST_KEPT = 6  # beginnings: few look at once, and a log has ten seconds' rest from each


class Survey(NamedTuple):
    """The sizes (bytes) and paths of the largest streams, as they were at `taken_at` (epoch)."""

    prefix: str
    taken_at: float
    largest: Sequence[tuple[int, str]]


class SizeSurvey:
    """Surveys of the largest streams, one at a time, each cached for a while.

    A survey continues when its caller is cancelled: the next caller gets its result. At most
    MOST_KEPT are made in KEPT_S, for any number of different prefixes.
    """

    def __init__(self, log: Log, clock: Callable[[], float]) -> None:
        self._log = log
        self._clock = clock
        self._surveys: dict[str, tuple[Survey, float]] = {}  # until when, by beginning
        self._under_way: asyncio.Task[None] | None = None

    async def largest(self, prefix: str) -> Survey:
        """Return the largest streams whose paths begin so. Raises LogUnavailable, LimitReached."""
        while True:
            now = self._clock()
            self._surveys = {key: entry for key, entry in self._surveys.items() if now < entry[1]}
            if prefix in self._surveys:
                return self._surveys[prefix][0]
            if self._under_way is None:
                if len(self._surveys) >= MOST_KEPT:
                    raise LimitReached(f"{MOST_KEPT} surveys were made within a minute: ask later")
                self._under_way = asyncio.get_running_loop().create_task(self._look(prefix))
                self._under_way.add_done_callback(self._looked)
            await shielded(self._under_way)

    async def _look(self, prefix: str) -> None:
        taken_at = self._clock()
        survey = Survey(prefix, taken_at, await listing_of(self._log).largest(prefix, MOST))
        self._surveys[prefix] = survey, self._clock() + KEPT_S

    def _looked(self, look: asyncio.Task[None]) -> None:
        self._under_way = None
        if not look.cancelled():
            look.exception()  # retrieved, even if no caller waits any more

    async def close(self) -> None:
        """End the survey that is under way."""
        if self._under_way is not None:
            self._under_way.cancel()
            await asyncio.gather(self._under_way, return_exceptions=True)
