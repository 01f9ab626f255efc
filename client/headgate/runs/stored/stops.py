"""The wish to stop a run, in a stream of its own: a wish in the lease would renew the lease.

A producer creates the stream `stop` of its run, follows it, and hears that it is closed: that is
the wish. It acknowledges the wish at once by a stream that exists for as long as its source may
take, by the server's clock alone. A process that finds a wish and none of
that gives the producer the time of one heartbeat, and then ends the run itself.

What the stream holds are notes of producers, of which the last one counts.
"""

from __future__ import annotations

import contextlib
import logging
import math
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec

from headgate import following, records
from headgate.errors import ABSENT, Closed, Conflict, StreamError
from headgate.names import BEGINNING
from headgate.records import Note
from headgate.retries import Backoff
from headgate.sending.framing import JSON, json_array

if TYPE_CHECKING:
    from headgate.runs.stored.places import Place
    from headgate.stream_requests import StreamRequests

log = logging.getLogger("headgate.runs")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0  # until a lost connection is made again: a stop is urgent
# Of the stream of the wish, at least. That it is followed uses it once a minute or so.
SHORTEST_TTL_S = 3600


class StopWish:
    """The wish to stop one run."""

    def __init__(self, run: Place, ttl_s: int | None) -> None:
        self._stream = run.stop
        self._grace = run.grace
        self._ttl_s = None if ttl_s is None else max(ttl_s, SHORTEST_TTL_S)

    # As its producer

    async def heard(self, orphan_after_s: int) -> None:
        """Wait until somebody wishes that the run stops. Gone when the stream is gone."""
        position = await self._noted(Note(orphan_after_s))
        if position is None:
            return
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
        entries = following.follow(
            self._stream, position, following.sse, backoff=backoff, note=log.info
        )
        async with aclosing(entries):
            async for _ in entries:
                pass  # notes of other producers: the wish is the end

    async def acknowledge(self, grace_s: float) -> None:
        """Let nobody else end the run within so many seconds."""
        await self._grace.create(content_type=JSON, ttl_s=max(1, math.ceil(grace_s)))

    async def leave(self, orphan_after_s: int) -> bool:
        """Note that nobody produces the run any more; return False if it is to be stopped."""
        return await self._noted(Note(orphan_after_s, is_left=True)) is not None

    async def delete(self) -> None:
        """Delete the wish, since the run has ended; if that fails, it expires."""
        with contextlib.suppress(StreamError):
            await self._stream.delete()

    async def _noted(self, note: Note) -> str | None:
        """Write a note, and return the offset after it; None if there is a wish."""
        body = json_array([msgspec.json.encode(note)])
        with contextlib.suppress(Conflict):  # it is closed, or was made with another TTL
            created = await self._stream.create(content_type=JSON, ttl_s=self._ttl_s, body=body)
            if created.is_new:
                return created.next_offset
        try:
            return (await self._stream.append(body, content_type=JSON)).next_offset
        except Closed:
            return None

    # As anybody

    async def make(self) -> None:
        """Wish that the run stops."""
        while True:
            try:
                await self._stream.close()
            except Closed:
                return  # somebody else's is there
            except ABSENT:
                # Its producer is about to create it, or has not got so far.
                with contextlib.suppress(Conflict):
                    await self._stream.create(content_type=JSON, ttl_s=self._ttl_s, is_closed=True)
                    return
            else:
                return


async def is_wished(stop: StreamRequests) -> bool:
    """Return whether the stream of a wish is closed."""
    found = await stop.find()
    return found is not None and found.is_closed


async def read_note(stop: StreamRequests) -> Note | None:
    """Return the last note of a producer; None where there is none."""
    last = None
    with contextlib.suppress(*ABSENT):
        async with aclosing(following.catch_up(stop, BEGINNING)) as batches:
            async for _, batch in batches:
                for body in batch.bodies:
                    last = records.last_note(body) or last
    return last
