"""Runs without a producer: they wait for another one where they may, and else are ended.

A run that somebody wishes to stop, and whose producer does not acknowledge that, is ended as well.
Whoever looks does it, if it finds the same twice, with the time of a heartbeat and a second in
between: a server that was away has expired leases of producers that live, and they take them again
within that time. A client whose token does not permit that finds the same, and leaves the stream as
it is.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, NamedTuple

from headgate.errors import (
    ABSENT,
    Closed,
    NotAuthorized,
    ProtocolError,
    StreamError,
    Unavailable,
)
from headgate.records import ACTIVE, ORPHANED, STOPPED, Note, RunState
from headgate.retries import Backoff
from headgate.runs.stored.places import claim
from headgate.runs.stored.progress import how_it_ended, last_items
from headgate.runs.stored.stops import StopWish, is_wished, read_note

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from headgate.runs.stored.places import Place
    from headgate.stream_requests import Metadata, StreamRequests

WAITING = RunState("orphaned", "its producer is gone, and it can be taken over")
GOES_ON = (ACTIVE, WAITING)
FIRST_LOOK_AGAIN_S = 0.01  # for the acknowledgement of a stop, which comes within milliseconds
LOOK_AGAIN_S = 1.0  # meanwhile: so a server that is away then is noticed, and a heartbeat soon
RECOVERY_S = 2.0  # until a producer that was held up has its lease again, on a busy machine
SLOW_S = 30.0  # in which a server may answer too slowly for its answers to say anything
GIVEN_UP_S = 0.05  # between two looks at the lease of a run that was stopped


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


async def is_active(run: Place) -> bool:
    """Return whether the run goes on, or may; end any other. Raises ABSENT if there is none."""
    return not (await run.items.head()).is_closed and await settled(run) in GOES_ON


async def state_of(run: Place) -> RunState | None:
    """Return what has become of a run; None if there is none."""
    try:
        if not (await run.items.head()).is_closed:
            found = await settled(run)
            if found in GOES_ON or not (await run.items.head()).is_closed:
                return found
        return await how_it_ended(run)
    except ABSENT:
        return None


async def settled(run: Place, first_look_again_s: float = LOOK_AGAIN_S) -> RunState:
    """End the run if nobody produces it and it waits for nobody, or as somebody has wished.

    Where it goes on, return ACTIVE or WAITING, else ORPHANED or STOPPED: so it was ended here, or
    would have been by a token that permits it, or it has just ended in whatever way. A run that
    seems to have no producer is looked at again until the time of a heartbeat is over. Raises
    Unavailable if the server answers too slowly for that.
    """
    time, slow = asyncio.get_running_loop().time, SlowAnswers()
    ending: _Ending | None = None
    while True:
        found = await _look(run)
        metadata = await run.items.head()
        # Its producer ends a run before it gives the lease up.
        if found in GOES_ON or metadata.is_closed:
            return found
        if not await _is_still(run, found, first_look_again_s):
            continue
        if ending is None or not ending.fits(found, metadata):
            read_at = time()
            ending = _Ending(found, metadata.next_offset, await last_items(run, found))
            if time() > read_at + LOOK_AGAIN_S:
                continue  # what was found is old
        if await _ended(run, ending):
            return found
        slow.note()
        await asyncio.sleep(LOOK_AGAIN_S)


async def stop(run: Place, ttl_s: int | None) -> bool:
    """Stop the run; False if there is none, or it has ended otherwise.

    Its producer acknowledges it, or else the run is ended here. If that does not succeed, since the
    server is away or `Runs` is closed, the next one who looks ends it.
    """
    wish = StopWish(run, ttl_s)
    try:
        if (await run.items.head()).is_closed:
            return False
    except ABSENT:
        return False
    await wish.make()
    try:
        return await _carried_out(run, wish)
    except ABSENT:
        await wish.delete()  # the run was deleted meanwhile, perhaps before the wish was made
        return False


async def _carried_out(run: Place, wish: StopWish) -> bool:
    """Wait until a stop is acknowledged, or end the run; False if it has ended otherwise."""
    try:
        await settled(run, FIRST_LOOK_AGAIN_S)
        if (await run.items.head()).is_closed:
            await wish.delete()  # it may have ended before the wish
            return await how_it_ended(run) == STOPPED
    except Unavailable:
        pass
    except RuntimeError:  # aiohttp's
        if not run.items.session.closed:
            raise
    except ProtocolError:
        await wish.delete()  # this is not a run
        raise
    return True


async def delete(run: Place, *, end_within_s: float) -> bool:
    """Delete the streams of a run; False if there was none.

    A producer that has been asked to stop is waited for, for so long: what it writes once its
    stream is gone is refused.
    """
    time = asyncio.get_running_loop().time
    until = time() + end_within_s
    while time() < until and await _is_held(run.lease):  # noqa: ASYNC110 - in another process
        await asyncio.sleep(GIVEN_UP_S)
    is_there = True
    try:
        await run.items.delete()
    except ABSENT:
        is_there = False
    for beside in (run.wait, run.stop, run.grace, run.lease):
        with contextlib.suppress(*ABSENT):
            await beside.delete()
    return is_there


async def is_produced(run: Place) -> bool:
    """Return whether a producer has the run, or one is given the time to take its lease again."""

    async def is_free() -> bool:
        return not await _is_held(run.lease)

    if not await is_free():
        return True
    note = await read_note(run.stop)
    return note is not None and not await stays_so(is_free, note.patience_s(is_to_stop=False))


class _Ending(NamedTuple):
    """The items that end a run while it stands at a tail."""

    state: RunState
    tail: str
    items: list[bytes]

    def fits(self, state: RunState, metadata: Metadata) -> bool:
        """Return whether it is still what ends the run."""
        return (self.state, self.tail) == (state, metadata.next_offset)


async def _look(run: Place) -> RunState:
    """Return what the streams beside a run say of it at this moment."""
    is_held, is_to_stop = await asyncio.gather(_is_held(run.lease), is_wished(run.stop))
    if is_to_stop:
        return ACTIVE if await _is_held(run.grace) else STOPPED
    if is_held:
        return ACTIVE
    return WAITING if await _is_held(run.wait) else ORPHANED


async def _is_still(run: Place, found: RunState, first_look_again_s: float) -> bool:
    """Return whether a run stays as it was found for the time that its producer has to say so."""

    async def is_so() -> bool:
        return await _look(run) is found and not (await run.items.head()).is_closed

    note = await read_note(run.stop) or Note()
    patience_s = note.patience_s(is_to_stop=found is STOPPED)
    return await stays_so(is_so, patience_s, first_look_again_s)


async def _ended(run: Place, ending: _Ending) -> bool:
    """End the run if it is as it was found; return False if it is not, or has not ended."""
    time = asyncio.get_running_loop().time

    async def is_still() -> bool:
        looked_at = time()
        return await _look(run) is ending.state and time() < looked_at + LOOK_AGAIN_S

    try:
        epoch = await claim(run.items, ending.items, is_closing=True, may_claim=is_still)
    except (Closed, NotAuthorized):  # somebody else has ended it, or has to
        return True
    if epoch is None:
        return False
    # A producer that lives yet finds that its lease is lost.
    for beside in (run.lease, run.wait, run.stop):
        with contextlib.suppress(StreamError):
            await beside.delete()
    return True


async def _is_held(lease: StreamRequests) -> bool:
    return await lease.find() is not None
