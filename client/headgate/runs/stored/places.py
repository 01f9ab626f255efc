"""The streams of a run, its producer's claim to write to its items, and the producer's lease.

The server keeps the epoch of a claim, so that an older producer is refused from the moment on at
which a newer one has written anything. Whatever a claim writes, it is written once.

A lease is a stream that exists for as long as the producer lives. It expires some seconds after its
last use (`Stream-TTL`, by the server's clock alone). The producer uses it: it appends a heartbeat
from time to time. HEAD is no use, so anybody may look whether the lease is still there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from headgate.errors import ABSENT, Closed, Conflict, Fenced, ProtocolError, StreamError
from headgate.names import BEGINNING, BESIDE, PRODUCER, not_text, stream_url
from headgate.records import beat_s
from headgate.retries import Retries
from headgate.sending.framing import JSON, is_json, json_array
from headgate.stream_requests import ProducerStamp

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.stream_requests import Metadata, StreamRequests

log = logging.getLogger("headgate.runs")

# Half of the 2,048 bytes that a Headgate takes as a path: the other half is for what is before it.
MOST_ID_BYTES = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
# Each round is lost to another claim; so many at the same moment are no users but a mistake.
MOST_ROUNDS = 1000
FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0
# A newer producer writes on, or a process that found the run without one has ended it.
TAKEN = (Fenced, Closed)
# Of a heartbeat, which else has the time until the next one is due: no answer is waited for longer,
# since a server that hung may be back.
SHORTEST_TIMEOUT_S = 1.0
LONGEST_PAUSE_S = 1.0  # until one that failed is tried again: others wait for it
HEARTBEAT = b'{"beat":true}'


@dataclass(frozen=True, slots=True)
class Place:
    """The streams of a run: its items, and beside them the lease of its producer.

    Where the run may be taken over, the lease `wait` outlives the producer's own. `stop` is closed
    by a client that wants the run stopped, and `grace` exists for as long as its source may take.
    """

    id: str
    items: StreamRequests
    lease: StreamRequests
    wait: StreamRequests
    stop: StreamRequests
    grace: StreamRequests


def check_type(run_id: object) -> None:
    """Raise TypeError for what is no str, such as a number, or the function `id`."""
    if not isinstance(run_id, str):
        raise not_text(run_id, "the id of a run is a str")


def place(base: StreamRequests, run_id: str) -> Place:
    """Return the streams of a run; raise TypeError or ValueError for an id that no URL can hold."""
    check_type(run_id)
    if run_id in {"", ".", ".."} or _CONTROL.search(run_id):
        raise ValueError(f"{run_id!r} cannot be the id of a run: no segment of a path can be that")
    size = len(quote(run_id, safe=""))
    if size > MOST_ID_BYTES:
        raise ValueError(
            f"the id of a run has at most {MOST_ID_BYTES} bytes when it is percent-encoded, "
            f"not {size}"
        )
    url = stream_url(base.url, run_id)
    beside = (f"{url}/{name}" for name in BESIDE)
    return Place(run_id, *map(base.beside, (url, *beside)))


async def _always() -> bool:
    return True


async def claim(
    stream: StreamRequests,
    items: list[bytes],
    *,
    is_closing: bool = False,
    may_claim: Callable[[], Awaitable[bool]] = _always,
) -> int | None:
    """Append under an epoch that no producer has had, and return the epoch.

    Return None if `may_claim` says before an attempt that the claim is not wanted any more. Raises
    Closed when the run has ended.
    """
    body, epoch = json_array(items), 0
    for _ in range(MOST_ROUNDS):
        if not await may_claim():
            return None
        try:
            stamp = ProducerStamp(PRODUCER, epoch, 0)
            appended = await stream.append(
                body, content_type=JSON, producer=stamp, is_closing=is_closing
            )
        except Fenced as fenced:
            epoch = fenced.epoch + 1
        else:
            if not appended.is_duplicate:
                return epoch
            # Somebody else has written under this epoch; ours was not.
            epoch += 1
    raise ProtocolError(f"no epoch was free in {MOST_ROUNDS} attempts", stream=stream.shown)


async def end(stream: StreamRequests, epoch: int, items: list[bytes], retry_for_s: float) -> bool:
    """Append the last items and close the stream, as who has claimed `epoch`.

    False when the run is somebody else's by now. It goes under the next epoch, so that it may be
    unknown what became of the append before.
    """
    body, stamp = json_array(items), ProducerStamp(PRODUCER, epoch + 1, 0)
    try:
        appended = await Retries(retry_for_s, (FIRST_WAIT_S, LONGEST_WAIT_S), log.info).run(
            lambda: stream.append(body, content_type=JSON, producer=stamp, is_closing=True)
        )
    except TAKEN:
        return False
    return appended.is_closed


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
            if created.is_new:
                return True
            with contextlib.suppress(*ABSENT):  # it has expired meanwhile
                # Whoever has made it, and gives its start up, shall find that it is in use.
                beat = await self._stream.append(HEARTBEAT, content_type=JSON)
                self._tail = beat.next_offset
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

    async def beat(self, epoch: int) -> None:
        """Append a heartbeat. Raises ABSENT without the lease, and Fenced by a newer epoch."""
        stamp = ProducerStamp(PRODUCER, epoch, self._beats)
        await self._stream.append(HEARTBEAT, content_type=JSON, producer=stamp)
        self._beats += 1

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
    with contextlib.suppress(Fenced, *ABSENT):
        try:
            await lease.beat(epoch)
        except ABSENT:
            if (await run.items.head()).is_closed:
                return False
            await lease.take()
            await lease.beat(epoch)
        return True
    return False
