"""The lease of what is produced: a stream that exists for as long as its producer lives.

It expires some seconds after its last use (`Stream-TTL`, by the server's clock alone). The producer
uses it: it appends a heartbeat from time to time, and where it can be stopped it follows the lease.
Whoever wants it stopped appends that. HEAD is no use, so anybody may look whether the lease is
still there.
"""

from __future__ import annotations

import contextlib
import json
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING

from headgate import following
from headgate.backoff import Backoff
from headgate.errors import ABSENT, StreamConflict, StreamError, StreamGone
from headgate.names import PRODUCER
from headgate.sending.framing import JSON, is_json
from headgate.stream import ProducerStamp

if TYPE_CHECKING:
    from headgate.stream import Metadata, Stream

log = logging.getLogger("headgate.runs")

HEARTBEAT, STOP = b'{"beat":true}', b'{"stop":true}'
FIRST_WAIT_S, LONGEST_WAIT_S = 0.05, 1.0  # until a lost connection is made again: a stop is urgent


class Lease:
    """The lease of one producer, which counts as gone `orphan_after_s` after its last heartbeat."""

    def __init__(self, stream: Stream, orphan_after_s: int) -> None:
        self.orphan_after_s = orphan_after_s
        self._stream = stream
        self._position = "-1"  # from which on it is followed
        self._tail: str | None = "-1"  # behind what was written as it was taken
        self._is_new = False
        self._beats = 0

    async def take(self, *, only_free: bool = False) -> bool:
        """Make it, or find it made; from here on no stop is missed.

        With `only_free`, return False where another producer has it.
        """
        while True:
            created = await self._create()
            if only_free and not created.is_new:
                return False
            self._position = created.next_offset
            self._is_new = created.is_new
            self._tail = created.next_offset
            self._beats = 0
            # Whoever has made it, and gives its start up, shall find that it is in use.
            if created.is_new or await self._append(HEARTBEAT):
                return True

    async def _create(self) -> Metadata:
        """Create the lease or return the existing one, whose own `orphan_after` counts then."""
        try:
            return await self._stream.create(content_type=JSON, ttl_s=self.orphan_after_s)
        except StreamConflict:
            found = await self._stream.head()
            if found.ttl_s is None or found.is_closed or not is_json(found.content_type):
                raise
            self.orphan_after_s = found.ttl_s
            return found

    async def beat(self, epoch: int | None = None) -> None:
        """Tell that the producer lives. ABSENT when the lease is lost.

        Raises ProducerFenced where the producer has an epoch, and one with a newer epoch has it.
        """
        stamp = None if epoch is None else ProducerStamp(PRODUCER, epoch, self._beats)
        await self._stream.append(HEARTBEAT, content_type=JSON, producer=stamp)
        self._beats += 1

    async def stop_asked(self) -> None:
        """Wait until somebody asks for a stop; StreamGone when the lease is lost."""
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
        entries = following.follow(
            self._stream, self._position, following.sse, backoff=backoff, note=log.info
        )
        async with aclosing(entries):
            async for batch in entries:
                if any(map(asks_stop, batch.bodies)):
                    return
        raise StreamGone(f"{self._stream.shown}: the lease was closed")

    async def ask_stop(self) -> bool:
        """Ask the producer to stop; return False if there is none."""
        return await self._append(STOP)

    async def _append(self, entry: bytes) -> bool:
        """Append an entry; return False if the lease does not exist."""
        try:
            self._tail = (await self._stream.append(entry, content_type=JSON)).next_offset
        except ABSENT:
            return False
        return True

    async def is_held(self) -> bool:
        """Return whether a producer was alive less than `orphan_after` seconds ago."""
        return await self._stream.find() is not None

    async def is_untouched(self) -> bool:
        """Return whether no producer has written to the lease since it was taken."""
        found = await self._stream.find()
        return found is not None and found.next_offset == self._tail

    async def delete_if_unused(self) -> None:
        """Delete the lease if it was created here, and no producer has written to it."""
        with contextlib.suppress(StreamError):
            if self._is_new and await self.is_untouched():
                await self._stream.delete()

    async def delete(self) -> None:
        """Delete the lease, since the producer has ended; if that fails, it expires."""
        with contextlib.suppress(StreamError):
            await self._stream.delete()


def asks_stop(body: bytes) -> bool:
    """Return whether one of these entries asks for a stop; others are heartbeats or unknown."""
    try:
        entries = json.loads(body)
    except (ValueError, RecursionError):
        return False
    found = entries if isinstance(entries, list) else [entries]
    return any(isinstance(entry, dict) and entry.get("stop") is True for entry in found)
