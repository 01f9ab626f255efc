"""Reading a run: what is there first, then what comes, until its end, across lost connections."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import msgspec

from headgate import following, records
from headgate.backoff import Backoff
from headgate.errors import Gone, ProtocolError, SourceFailed, StreamError, Unavailable
from headgate.notes import BEATS
from headgate.records import CUT, RunState
from headgate.runs.cursors import Cursor, fits
from headgate.runs.formats import format_named
from headgate.runs.stored.lookups import mark_before
from headgate.runs.stored.marks import is_far
from headgate.runs.stored.survey import BEGINNING, START, RunMark, items_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from headgate.endpoint import Endpoint
    from headgate.following import Batch, Position
    from headgate.records import Status
    from headgate.runs.formats import Format
    from headgate.runs.stored.places import Place
    from headgate.stream_requests import StreamRequests

log = logging.getLogger("headgate.runs")

FIRST_WAIT_S, LONGEST_WAIT_S = 0.1, 2.0  # before a lost connection is made again
WITH_IDS = "sse"  # the format whose items tell where they are
READERS_END_S = 1.0  # for those who wait for the end of a run that has just ended
KEEP_ALIVE_S = 15.0  # of silence; proxies end what is silent for a minute
GONE = RunState("failed", "the run is no longer there: deleted, expired, or lost by its server")

# What is said of runs whose answers are not whole. One that was stopped is as it was wanted.
UNFINISHED: dict[Status, str] = {"failed": "failed", "orphaned": "is orphaned"}


class Rendering:
    """The items of one run as one reader is sent them."""

    def __init__(self, after: int, start: RunMark) -> None:
        self.format = start.form  # else the stream's first record tells it
        self.count = start.count  # of the items so far that readers are sent
        self.offset = start.offset  # behind the last batch
        self.end: RunState | None = None
        self._after = after
        self._before = start.count  # items up to the offset
        self._is_far = start.offset != START
        self._tells_offset = self._is_far and fits(start.offset)
        self._bytes = 0

    def take(self, batch: Batch) -> bytes:
        """Return what the reader is sent for these items; nothing for those that it has."""
        data = b"".join([data for body in batch.bodies for data in self._new_data(body)])
        self.offset = batch.position.offset
        self._before = self.count
        self._bytes += sum(map(len, batch.bodies))
        if self._is_far or is_far(self.count, self._bytes):
            self._is_far, self._tells_offset = True, fits(self.offset)
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
        if record.status is not None and record.status != "active":
            return self._end(RunState(record.status, record.error))
        return b""

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
        """Return what leads behind the item of this number: near the beginning, the number does."""
        return f"{count}.{count - self._before}.{self.offset}" if self._tells_offset else str(count)


class Reading:
    """A reader of a run."""

    def __init__(
        self,
        stream: StreamRequests,
        after: int = 0,
        start: RunMark = BEGINNING,
        *,
        is_new: bool = False,
    ) -> None:
        """`is_new` says that the run has just been started here."""
        self._stream = stream
        self._is_new = is_new
        self._first = b""
        self.seen = Rendering(after, start)
        loop = asyncio.get_running_loop()
        self._leaving: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()  # set as the body ends
        self.is_awaited = False  # somebody waits for the next piece

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

    def leave(self) -> None:
        """End the body before the end of its run, as a lost connection would."""
        if not self._leaving.done():
            self._leaving.set_result(None)

    async def body(
        self, check: Callable[[], Awaitable[object]], quiet_s: float
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes, until the end of the run.

        At once, and whenever the connection was made again or was silent for `quiet_s`, `check`
        whether somebody produces the run. In a longer silence look whether the stream is there and
        has more, too.

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
        if self._leaving.done() and self.seen.end is None:
            return b""
        return self.seen.ended(state) + (self.seen.format.last if self.seen.format else b"")

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
        self, check: Callable[[], Awaitable[object]], quiet_s: float
    ) -> AsyncGenerator[Batch | None]:
        """Yield the batches of the stream, and None for each time of silence.

        Raises Gone when the stream is not there any more.
        """
        time = asyncio.get_running_loop().time
        if self._leaving.done():
            return
        connection = _Connection(self._stream, self.seen.offset)
        looks = _Looks(check, quiet_s, is_due=not self._is_new)
        last_sent_at = time()
        try:
            while not self._leaving.done():
                next_at = min(looks.due_at, last_sent_at + KEEP_ALIVE_S)
                await self._wait(connection.next_batch, max(0.0, next_at - time()))
                if connection.next_batch.done():
                    batch = connection.take()
                    looks.follow(batch, is_made_again=connection.is_made_again())
                    last_sent_at = time() if batch.bodies else last_sent_at
                    yield batch
                elif looks.begin_if_due() and await connection.has_missed():
                    await connection.close()
                    connection = _Connection(self._stream, connection.offset)
                elif time() >= last_sent_at + KEEP_ALIVE_S:
                    last_sent_at = time()
                    yield None
        except StopAsyncIteration:
            return
        finally:
            # Both end even if anyio cancels each await, as for a client that left a Starlette app.
            await asyncio.shield(asyncio.gather(looks.close(), connection.close()))

    async def _wait(self, awaited: asyncio.Future[Batch], timeout_s: float) -> None:
        self.is_awaited = True
        either: set[asyncio.Future[Any]] = {awaited, self._leaving}
        await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        self.is_awaited = False


class _Looks:
    """Looks whether a run goes on, one after the other, beside the reading of it.

    A look that finds no producer lasts for longer than a heartbeat. What it ends, the reader reads.
    """

    def __init__(
        self, check: Callable[[], Awaitable[object]], quiet_s: float, *, is_due: bool
    ) -> None:
        self._check = check
        self._quiet_s = quiet_s
        self._time = asyncio.get_running_loop().time
        self.due_at = self._time() + (0.0 if is_due else quiet_s)
        self._count = 0 if is_due else 1  # since the last item
        self._task: asyncio.Task[None] | None = None

    def follow(self, batch: Batch, *, is_made_again: bool) -> None:
        """Look after a time without items, and at once where a connection was made again."""
        if batch.bodies:
            self._count = 1
            self.due_at = self._time() + self._quiet_s
        if is_made_again:
            self.due_at = self._time()

    def begin_if_due(self) -> bool:
        """Look if it is time; return whether the connection is to be looked at as well."""
        if self._time() < self.due_at:
            return False
        self.due_at = self._time() + self._quiet_s
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        self._count += 1
        return self._count > BEATS and self._count % BEATS == 1

    async def _look(self) -> None:
        # The server is away, and the next look may tell, or the session is closed.
        with contextlib.suppress(StreamError, RuntimeError):
            await self._check()

    async def close(self) -> None:
        """End the look that is under way."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait({self._task})


class _Connection:
    """A live read of a stream from an offset on.

    A server may leave the connection open and silent when it deletes the stream, and so may a
    proxy that has lost the server. So `has_missed` asks once more, on another connection.
    """

    def __init__(self, stream: StreamRequests, offset: str) -> None:
        self.offset = offset  # behind the last batch taken
        self._stream = stream
        self._requests = 0
        self._seen_requests = 1  # when a batch was taken
        backoff = Backoff(FIRST_WAIT_S, LONGEST_WAIT_S, random.random)
        self._batches = following.follow(
            stream, offset, self._request, backoff=backoff, note=log.info
        )
        self.next_batch = asyncio.ensure_future(anext(self._batches))

    def take(self) -> Batch:
        """Return the batch that has come; StopAsyncIteration after the last one."""
        batch = self.next_batch.result()
        self.offset = batch.position.offset
        self.next_batch = asyncio.ensure_future(anext(self._batches))
        return batch

    def is_made_again(self) -> bool:
        """Return whether another request has brought the last batch than the one before."""
        before, self._seen_requests = self._seen_requests, self._requests
        return self._requests > before

    async def _request(self, stream: Endpoint, position: Position) -> AsyncGenerator[Batch]:
        self._requests += 1
        async with aclosing(following.sse(stream, position)) as batches:
            async for batch in batches:
                yield batch

    async def has_missed(self) -> bool:
        """Return whether the stream has more than has come; Gone when it is not there."""
        try:
            found = await self._stream.find()
        except StreamError:
            return False  # the server is away: the connection finds out, and tries again
        if found is None:
            raise Gone("the stream is no longer there", stream=self._stream.shown)
        is_at_tail = found.next_offset == self.offset and not found.is_closed
        return not (is_at_tail or self.next_batch.done())

    async def close(self) -> None:
        """End the read."""
        self.next_batch.cancel()
        # What has come since the last batch is not taken, such as the end of the stream.
        await asyncio.gather(self.next_batch, return_exceptions=True)
        await self._batches.aclose()


async def begun(run: Place, after: int | Cursor) -> Reading:
    """Return a reading of what is behind a place in the run, with the first of it."""
    if isinstance(after, Cursor):
        start = RunMark(after.offset, after.count - after.skip, format_named(WITH_IDS))
        reading = Reading(run.items, after.count, start)
        try:
            await reading.begin()
        except (ProtocolError, Unavailable):
            raise
        except StreamError:
            pass  # the stream has no such offset: that of another one, or forged
        else:
            # A later offset sorts behind an earlier one, on every server.
            if reading.seen.offset >= after.offset:
                return reading
        after = after.count
    reading = Reading(run.items, after, await mark_before(run, after))
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
