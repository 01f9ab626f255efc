"""Where a producer writes its items: appends under the epoch that it has claimed."""

from __future__ import annotations

import logging
import random
from typing import TYPE_CHECKING

from headgate.backoff import Backoff
from headgate.retries import Retries
from headgate.runs.claims import JSON, PRODUCER, batch
from headgate.stream import ProducerStamp

if TYPE_CHECKING:
    from headgate.stream import Appended, Stream

log = logging.getLogger("headgate.runs")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0


class Output:
    """Appends after the claim, each once, for as long as nobody has a higher epoch."""

    def __init__(self, stream: Stream, epoch: int, retry_for_s: float) -> None:
        self._stream = stream
        self._epoch = epoch
        self._seq = 1  # 0 was the claim
        self._retry_for_s = retry_for_s

    async def write(self, items: list[bytes]) -> None:
        """Append the items, all or none."""
        await self._append(ProducerStamp(PRODUCER, self._epoch, self._seq), items, is_closing=False)
        self._seq += 1

    async def flush(self) -> None:
        """Wait until all that was written is stored."""

    async def end(self, items: list[bytes]) -> bool:
        """Append the last items and close the stream; False if it is somebody else's by now.

        An epoch of its own makes that possible also when it is not known what became of an append
        before it.
        """
        stamp = ProducerStamp(PRODUCER, self._epoch + 1, 0)
        appended = await self._append(stamp, items, is_closing=True)
        return appended.is_closed

    async def _append(
        self, stamp: ProducerStamp, items: list[bytes], *, is_closing: bool
    ) -> Appended:
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
        retries = Retries(self._retry_for_s, backoff, log.info)
        return await retries.run(
            lambda: self._stream.append(
                batch(items), content_type=JSON, producer=stamp, is_closing=is_closing
            )
        )
