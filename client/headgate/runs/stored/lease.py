"""The lease of what is produced: a stream that exists for as long as its producer lives.

It expires some seconds after its last use (`Stream-TTL`, by the server's clock alone). The producer
uses it: it appends a heartbeat from time to time. HEAD is no use, so anybody may look whether the
lease is still there.

A server that was away has expired leases of producers that live. So nobody acts upon an expired
lease before the producer has had the time of a heartbeat, and a second, to take it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from headgate.errors import ABSENT, Conflict, Fenced, StreamError, Unavailable
from headgate.names import BEGINNING, PRODUCER
from headgate.records import beat_s
from headgate.retries import Backoff
from headgate.sending.framing import JSON, is_json
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.runs.stored.places import Place
    from headgate.stream_requests import Metadata, StreamRequests

log = logging.getLogger("headgate.runs")

LOOK_AGAIN_S = 1.0  # meanwhile: so a server that is away then is noticed, and a heartbeat soon

RECOVERY_S = 2.0  # until a producer that was held up has its lease again, on a busy machine

SLOW_S = 30.0  # in which a server may answer too slowly for its answers to say anything

# Of a heartbeat, which else has the time until the next one is due: no answer is waited for longer,
# since a server that hung may be back.
SHORTEST_TIMEOUT_S = 1.0
LONGEST_PAUSE_S = 1.0  # until one that failed is tried again: others wait for it

HEARTBEAT = b'{"beat":true}'


class SlowAnswers:
    """The answers of a server that came so late that what they say may be over."""

    def __init__(self) -> None:
        self._until: float | None = None

    def note(self, patient_until: float = 0.0) -> None:
        """Note one more. Raises Unavailable when there were some for SLOW_S, and patience is over.

        Times are those of the loop's clock.
        """
        now = asyncio.get_running_loop().time()
        if self._until is None:
            self._until = max(now, patient_until) + SLOW_S
        elif now > self._until:
            raise Unavailable("the server answers too slowly to say whether a producer is gone")


async def stays_so(
    is_so: Callable[[], Awaitable[bool]], seconds: float, first_wait_s: float = LOOK_AGAIN_S
) -> bool:
    """Return whether `is_so` stays true for `seconds`, asking about once a second.

    Whenever an answer takes long, RECOVERY_S follow: a server, or a process, that was held up has
    held up the producer as well. Raises Unavailable if that goes on for SLOW_S.
    """
    slow = SlowAnswers()
    time = asyncio.get_running_loop().time
    waits = Backoff(first_wait_s, LOOK_AGAIN_S)
    until = time() + seconds
    while (left_s := until - time()) > 0:
        waited_until = time() + (wait_s := min(waits.next_s(), left_s))
        await asyncio.sleep(wait_s)
        if not await is_so():
            return False
        if time() > waited_until + LOOK_AGAIN_S:
            slow.note(until)
            until = max(until, time() + min(seconds, RECOVERY_S))
    return True


class Lease:
    """The lease of one producer, which counts as gone `orphan_after_s` after its last heartbeat."""

    def __init__(self, stream: StreamRequests, orphan_after_s: int) -> None:
        self.orphan_after_s = orphan_after_s
        self._stream = stream
        self._tail: str | None = BEGINNING  # after what was written as it was taken
        self._is_new = False
        self._beats = 0

    @property
    def beat_s(self) -> float:
        """Seconds from one heartbeat to the next."""
        return beat_s(self.orphan_after_s)

    async def take(self, *, only_free: bool = False) -> bool:
        """Make it, or find it made.

        With `only_free`, return False where another producer has it.
        """
        while True:
            created = await self._create()
            if only_free and not created.is_new:
                return False
            self._is_new = created.is_new
            self._tail = created.next_offset
            self._beats = 0
            # Whoever has made it, and gives its start up, shall find that it is in use.
            if created.is_new or await self._append_beat():
                return True

    async def _create(self) -> Metadata:
        """Create the lease or return the existing one, whose own `orphan_after` counts then."""
        try:
            return await self._stream.create(content_type=JSON, ttl_s=self.orphan_after_s)
        except Conflict:
            found = await self._stream.head()
            if found.ttl is None or found.is_closed or not is_json(found.content_type):
                raise
            self.orphan_after_s = found.ttl
            return found

    async def beat(self, epoch: int | None = None) -> None:
        """Tell that the producer lives. ABSENT when the lease is lost.

        Raises Fenced where the producer has an epoch, and one with a newer epoch has it.
        """
        stamp = None if epoch is None else ProducerStamp(PRODUCER, epoch, self._beats)
        await self._stream.append(HEARTBEAT, content_type=JSON, producer=stamp)
        self._beats += 1

    async def _append_beat(self) -> bool:
        """Append a heartbeat; return False if the lease does not exist."""
        try:
            self._tail = (await self._stream.append(HEARTBEAT, content_type=JSON)).next_offset
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


async def keep_beating(run: Place, lease: Lease, epoch: int) -> None:
    """Renew the lease until the run is another producer's, or has ended."""
    time = asyncio.get_running_loop().time
    while True:
        next_at = time() + lease.beat_s
        try:
            async with asyncio.timeout(max(lease.beat_s, SHORTEST_TIMEOUT_S)):
                if not await _has_beaten(run, lease, epoch):
                    return
        except (StreamError, TimeoutError) as error:
            log.info("run %r: no heartbeat: %s", run.id, error)
            next_at = min(next_at, time() + LONGEST_PAUSE_S)
        await asyncio.sleep(max(0.0, next_at - time()))


async def _has_beaten(run: Place, lease: Lease, epoch: int) -> bool:
    """Renew the lease, or take it again; False when the run is somebody else's, or has ended."""
    try:
        await lease.beat(epoch)
    except Fenced:
        return False
    except ABSENT:
        return await _has_taken_again(run, lease, epoch)
    return True


async def _has_taken_again(run: Place, lease: Lease, epoch: int) -> bool:
    """Take the lease again, unless the run was ended meanwhile."""
    try:
        if (await run.items.head()).is_closed:
            return False
        await lease.take()
        await lease.beat(epoch)
    except (Fenced, *ABSENT):
        return False
    return True
