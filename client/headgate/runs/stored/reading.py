"""Reading a run: what is there first, then what comes, until its end, across lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following, records
from headgate.errors import Gone, ProtocolError, SourceFailed, StreamError, Unavailable
from headgate.names import BEGINNING
from headgate.records import BEATS, CUT, RunState
from headgate.retries import Backoff
from headgate.runs.cursors import Cursor, fits
from headgate.runs.formats import format_named
from headgate.runs.stored.orphans import GOES_ON
from headgate.runs.stored.progress import items_of
from headgate.shielding import shielded

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from headgate.endpoint import Endpoint
    from headgate.following import Batch
    from headgate.records import Status
    from headgate.runs.formats import Format
    from headgate.runs.stored.places import Place
    from headgate.stream_requests import StreamRequests

log = logging.getLogger("headgate.runs")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0  # before a lost connection is made again
WITH_IDS = "sse"  # the format whose items tell where they are
FAR_ITEMS = 1000  # so many are read again from the beginning as fast as from a place
READERS_END_S = 1.0  # for those who wait for the end of a run that has just ended
KEEP_ALIVE_S = 15.0  # of silence; proxies end what is silent for a minute
GONE = RunState("failed", "the run is no longer there: deleted, expired, or lost by its server")

# What is said of runs whose answers are not whole. One that was stopped is as it was wanted.
UNFINISHED: dict[Status, str] = {"failed": "failed", "orphaned": "is orphaned"}


class Rendering:
    """The items of one run as one reader is sent them."""

    def __init__(self, after: int | Cursor, form: Format | None) -> None:
        place = after if isinstance(after, Cursor) else Cursor(after, after, BEGINNING)
        self.format = form  # else the stream's first record tells it
        self.count = place.count - place.skip  # of the items so far that readers are sent
        self.offset = place.offset  # after the last batch
        self.end: RunState | None = None
        self._after = place.count
        self._before = self.count  # items up to the offset
        self._tells_offset = isinstance(after, Cursor)

    def take(self, batch: Batch) -> bytes:
        """Return what the reader is sent for these items; nothing for those that it has."""
        data = b"".join([data for body in batch.bodies for data in self._new_data(body)])
        self.offset = batch.offset
        self._before = self.count
        self._tells_offset = self.count >= FAR_ITEMS and fits(self.offset)
        return data

    def _new_data(self, body: bytes) -> list[bytes]:
        items = items_of(body)
        if records.MARK not in body:
            # Those that the reader has need not be rendered.
            had = min(len(items), max(0, self._after - self.count))
            self.count += had
            items = items[had:]
        return [self._item(bytes(item)) for item in items]

    def ended(self, state: RunState) -> bytes:
        """Return the bytes of the end, if the stream does not hold its record itself."""
        if self.format is None or self.end is not None:
            return b""
        items = [msgspec.json.encode(item) for item in self.format.ending(state)]
        return self._end(state) + b"".join(self._item(item) for item in items)

    def _item(self, item: bytes) -> bytes:
        record = records.parse_record(item)
        if record is None:
            return self._sent(lambda form, id_: form.rendered(item, id_))
        if record.format is not None and self.format is None:
            self.format = format_named(record.format)
        return b"" if record.end is None else self._end(record.end)

    def _end(self, state: RunState) -> bytes:
        self.end = state
        return self._sent(lambda form, id_: form.rendered_end(state, id_))

    def _sent(self, rendered: Callable[[Format, str], bytes]) -> bytes:
        if self.format is None:
            return b""
        data = rendered(self.format, self._id(self.count + 1))
        self.count += bool(data)
        return data if self.count > self._after else b""

    def _id(self, count: int) -> str:
        """Return what leads to the place after an item: near the beginning, its number does."""
        return f"{count}.{count - self._before}.{self.offset}" if self._tells_offset else str(count)


class Reading:
    """A reader of a run."""

    def __init__(
        self,
        stream: StreamRequests,
        after: int | Cursor = 0,
        form: Format | None = None,
        *,
        is_new: bool = False,
    ) -> None:
        """`is_new` says that the run has just been started here."""
        self._stream = stream
        self._first = b""
        self.seen = Rendering(after, form)
        self._loop = asyncio.get_running_loop()
        self._leaving: asyncio.Future[RunState | None] = self._loop.create_future()
        self.over: asyncio.Future[None] = self._loop.create_future()  # set as the body ends
        self.is_awaited = False  # somebody waits for the next piece
        self._is_connected = asyncio.Event()  # again, since the last look at the producer
        if not is_new:
            self._is_connected.set()
        self._has_requested = False
        self._quiet_until = 0.0  # no item makes a look due before

    async def begin(self) -> None:
        """Read up to the first item that the reader lacks, or to the tail."""
        async with aclosing(following.catch_up(self._stream, self.seen.offset)) as batches:
            async for _, batch in batches:
                self._first = self.seen.take(batch)
                if self._first:
                    return

    @property
    def has_something(self) -> bool:
        """True if there is, or will be, anything that the reader lacks."""
        return bool(self._first) or self.seen.end is None

    def leave(self, state: RunState | None = None) -> None:
        """End the body as of a run in a final state; without one, as a lost connection does."""
        if not self._leaving.done():
            self._leaving.set_result(state)

    async def body(
        self, check: Callable[[], Awaitable[RunState]], quiet_s: float
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes, until the end of the run.

        At once, and whenever the connection was made again or was silent for `quiet_s`, `check`
        whether somebody produces the run. It has ended, too, if nobody does and nobody may end it.

        What ends here is the whole answer. Raises Unavailable when the reader is cut before, and
        SourceFailed at the end of a run that failed where its format cannot say so.
        """
        try:
            if self._first:
                yield self._first
            state = CUT
            try:
                async with aclosing(self._batches(check, quiet_s)) as batches:
                    async for batch in batches:
                        data = self._keep_alive() if batch is None else self.seen.take(batch)
                        if data:
                            yield data
            except Gone:
                state = GONE
            last = self._last(state)
            if last:
                yield last
            self._check_whole()
        finally:
            self.over.set_result(None)

    def _last(self, state: RunState) -> bytes:
        left = self._leaving.result() if self._leaving.done() else state
        if left is None and self.seen.end is None:
            return b""
        return self.seen.ended(left or state) + (self.seen.format.last if self.seen.format else b"")

    def _check_whole(self) -> None:
        """Raise unless a body that ends now would be right to do so."""
        form, end = self.seen.format, self.seen.end
        if end is None:
            raise Unavailable("the reading of the run was closed", stream=self._stream.shown)
        if end.status in UNFINISHED and form is not None and not form.tells_end:
            raise SourceFailed(
                f"the run {UNFINISHED[end.status]}: {end.error}", stream=self._stream.shown
            )

    def _keep_alive(self) -> bytes:
        return b"" if self.seen.format is None else self.seen.format.keep_alive

    async def _batches(
        self, check: Callable[[], Awaitable[RunState]], quiet_s: float
    ) -> AsyncGenerator[Batch | None]:
        """Yield the batches of the stream, and None for each time of silence.

        Raises Gone when the stream is not there any more.
        """
        time = self._loop.time
        live = following.follow(
            self._stream,
            self.seen.offset,
            partial(self._answered, silence_s=BEATS * quiet_s),
            backoff=Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random),
            note=log.info,
        )
        self._quiet_until = time() + quiet_s
        looking = asyncio.create_task(self._look(check, quiet_s))
        coming = asyncio.ensure_future(anext(live))
        sent_at = time()
        try:
            while not self._leaving.done():
                either: set[asyncio.Future[Any]] = {coming, self._leaving}
                timeout_s = max(0.0, sent_at + KEEP_ALIVE_S - time())
                self.is_awaited = True
                await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
                self.is_awaited = False
                if coming.done():
                    batch = coming.result()
                    coming = asyncio.ensure_future(anext(live))
                    if batch.bodies:
                        sent_at = time()
                        self._quiet_until = sent_at + quiet_s
                    yield batch
                elif time() >= sent_at + KEEP_ALIVE_S:
                    sent_at = time()
                    yield None
        except StopAsyncIteration:
            return
        finally:
            # All end even if anyio cancels each await, as for a client that left a Starlette app.
            await shielded(_end(live, coming, looking))

    async def _answered(
        self, stream: Endpoint, offset: str, cursor: str | None, *, silence_s: float
    ) -> AsyncGenerator[Batch]:
        """Yield the batches of one SSE answer, which ends as it is silent for so long.

        A server may leave the connection open and silent when it deletes the stream, and so may a
        proxy that has lost the server. The next request finds out, and gets what was missed.
        """
        is_again, self._has_requested = self._has_requested, True
        async with aclosing(following.sse(stream, offset, cursor)) as batches:
            with contextlib.suppress(StopAsyncIteration, TimeoutError):
                while True:
                    async with asyncio.timeout(silence_s):
                        batch = await anext(batches)
                    if is_again:  # not sooner: a server that is away is not asked for the lease too
                        is_again = False
                        self._is_connected.set()
                    yield batch

    async def _look(self, check: Callable[[], Awaitable[RunState]], quiet_s: float) -> None:
        """Check for a producer with each connection, and after each silence of `quiet_s`.

        A check that finds none lasts for longer than a heartbeat. What it ends, the reader reads.
        What it may not end, ends here, once the reader has all items.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._quiet_until):
                    await self._is_connected.wait()
            if self._is_connected.is_set() or self._loop.time() >= self._quiet_until:
                self._is_connected.clear()
                self._quiet_until = self._loop.time() + quiet_s
                # Whatever fails, the next look finds out more, as of a server that is away.
                with contextlib.suppress(Exception):
                    state = await check()
                    if state not in GOES_ON:
                        found = await self._stream.head()
                        if not found.is_closed and found.next_offset == self.seen.offset:
                            self.leave(state)


async def _end(
    live: AsyncGenerator[Batch], coming: asyncio.Future[Batch], looking: asyncio.Task[None]
) -> None:
    """End a read and its looks. What has come since the last batch is not taken."""
    coming.cancel()
    looking.cancel()
    await asyncio.gather(coming, looking, return_exceptions=True)
    await live.aclose()


async def begun(run: Place, after: int | Cursor) -> Reading:
    """Return a reading of what is after a place in the run, with the first of it."""
    if isinstance(after, Cursor):
        reading = Reading(run.items, after, format_named(WITH_IDS))
        try:
            await reading.begin()
        except (ProtocolError, Unavailable):
            raise
        except StreamError:
            pass  # the stream has no such offset: that of another one, or forged
        else:
            # A later offset sorts after an earlier one, on every server.
            if reading.seen.offset >= after.offset:
                return reading
        after = after.count
    reading = Reading(run.items, after)
    await reading.begin()
    return reading


async def end_readings(readings: Sequence[Reading], grace_s: float) -> None:
    """Cut who still reads, after a moment in which they can read the end."""
    awaited = {reading.over for reading in readings if reading.is_awaited}
    if awaited and grace_s:
        await asyncio.wait(awaited, timeout=grace_s)
    for reading in readings:
        reading.leave()
    if awaited:
        await asyncio.wait(awaited, timeout=READERS_END_S)
