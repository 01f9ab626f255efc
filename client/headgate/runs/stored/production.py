"""A run as it is produced: its source is read to an end, with readers or without."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from headgate import records
from headgate.dialects.parts import NotAnItem, plain
from headgate.errors import ABSENT, StreamError, safe_error_text, sendable
from headgate.json_values import json_text
from headgate.names import BEGINNING
from headgate.records import BEATS, STOPPED, RunState
from headgate.runs.stored import places
from headgate.runs.stored.places import LONGEST_PAUSE_S, TAKEN, Lease, keep_beating
from headgate.runs.stored.progress import Step, how_it_ended
from headgate.runs.stored.stops import StopWish

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator

    from headgate.runs.formats import Completion, Format
    from headgate.runs.stored.places import Place
    from headgate.sending.writer import StreamWriter

log = logging.getLogger("headgate.runs")

# Whoever takes a run over has the values of all its steps in memory.
MOST_STEP_BYTES = 16 << 20
CLOSE_TIMEOUT_S = 5.0  # for what a source does as it is closed, until it is left to itself
FINISHED = RunState("finished")
TAKEN_OVER = RunState("active")  # by somebody else, who tells how it ends
SHUT_DOWN = RunState("failed", "the application was shut down")


class SourceExit(Exception):
    """An exception of a source, its cause, that is not an `Exception`: it would end a loop."""

    def __init__(self, cause: BaseException) -> None:
        super().__init__(f"{type(cause).__name__} was raised")
        self.__cause__ = cause


def class_name(error: Exception) -> str:
    """Return a sentence with the error's class alone: its message may hold secrets."""
    raised = error.__cause__ if isinstance(error, SourceExit) else error
    return f"the source failed: {type(raised).__name__}"


@dataclass(frozen=True, slots=True)
class RunRules:
    """The settings that all runs of an application share; times in seconds."""

    orphan_after_s: int  # of leases that are made here
    ttl_s: int | None  # of streams, from their last use on
    stop_grace_s: float
    retry_for_s: float
    error_text: Callable[[Exception], str]
    takeover_within_s: int = 0  # so long a run without a producer waits for another one


@dataclass(slots=True)
class Plan:
    """The part of a run that one producer writes, which others may have begun and may end."""

    first: list[object]  # items before those of the source
    begun: Completion | None = None  # what goes on
    has_items: bool = False  # of an older producer's source
    closes: bool = True  # the run ends with the source
    count: int = 0  # items of the stream, once all are written
    step_bytes: int = 0  # of the records of steps


class _NotWritten(Exception):
    """The writer has failed, not the source."""


class Production:
    """A run in the process that produces it, from its claim to its end."""

    def __init__(  # noqa: PLR0913 - what `Runs` has made ready
        self,
        place: Place,
        lease: Lease,
        epoch: int,
        output: StreamWriter,
        form: Format,
        rules: RunRules,
        plan: Plan,
    ) -> None:
        self._place = place
        self._lease = lease
        self._epoch = epoch
        self._output = output
        self._form = form
        self._items = form.writer(plan.begun)
        self._rules = rules
        self._plan = plan
        self._wish = StopWish(place, rules.ttl_s)
        # It outlives the producer's own lease, where the run may be taken over.
        self._wait = Lease(place.wait, rules.takeover_within_s) if rules.takeover_within_s else None
        self._stopped = asyncio.Event()
        self._watches_stop = False
        # How it ends when its source is not what ends it.
        self._verdict: asyncio.Future[RunState] = asyncio.get_running_loop().create_future()
        self.outcome = TAKEN_OVER  # of what is done here
        self._is_all_written = False  # so that the end may complete what was begun

    def stopped(self) -> asyncio.Event:
        """Set when a stop was asked for. Who has asked for it is left a while to act on it."""
        self._watches_stop = True
        return self._stopped

    def end(self, state: RunState) -> None:
        """Close the source, and end the run so; the first who says so is right."""
        if not self._verdict.done():
            self._verdict.set_result(state)

    async def run(self, source: AsyncIterator[object]) -> None:
        """Produce the run to its end."""
        consuming = asyncio.create_task(self._consume(source))
        others = [self._beat(), self._watch(), self._flush()]
        if self._rules.ttl_s is not None:  # a silent stream may have no other use meanwhile
            others.append(self._repeat(self._use_stream, self._rules.ttl_s / BEATS))
        if self._wait is not None:  # should this producer be gone
            others.append(self._repeat(self._wait.take, self._rules.takeover_within_s / BEATS))
        tasks = [*map(asyncio.create_task, others)]
        is_ended, is_left = True, False
        try:
            state = self.outcome = await self._written(consuming)
            if is_left := await self._is_left(state):
                is_ended = state is not SHUT_DOWN
            elif self.outcome is TAKEN_OVER or not await self._end(self.outcome):
                self.outcome = await _ended_elsewhere(self._place)
                log.warning("run %r: another producer has taken over, or ended it", self._place.id)
        except StreamError as error:
            log.warning("run %r: its end could not be written: %s", self._place.id, error)
            is_ended = False
            is_left = isinstance(error, ABSENT)  # one that was deleted gets no note
        finally:
            self._stopped.set()  # for who waits in a thread, which nothing cancels
            for task in tasks:
                task.cancel()
            _cancel(consuming)
            await asyncio.wait(tasks, timeout=CLOSE_TIMEOUT_S)
        if not is_ended:
            await self._give_up(is_noted=is_left)
        await self._close(consuming)

    async def _give_up(self, *, is_noted: bool) -> None:
        """Note that the run has no producer: until the lease expires, it would count as active."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                with contextlib.suppress(StreamError):
                    if not is_noted:
                        await self._wish.leave(self._lease.orphan_after_s)
                await self._lease.delete()

    async def _written(self, consuming: asyncio.Task[RunState]) -> RunState:
        """Write the source's items, and return how the run ended once all are in the stream."""
        try:
            async with self._output:
                state = await self._outcome(consuming)
        except TAKEN:
            return TAKEN_OVER
        except Exception as error:
            log.warning("run %r: an item could not be written", self._place.id, exc_info=error)
            return RunState("failed", self._unwritten(error))
        self._is_all_written = True
        return state

    async def _outcome(self, consuming: asyncio.Task[RunState]) -> RunState:
        await asyncio.wait({consuming, self._verdict}, return_when=asyncio.FIRST_COMPLETED)
        if not self._verdict.done():
            if consuming.cancelled():
                return RunState("failed", "the source was cancelled")
            return consuming.result()
        verdict = self._verdict.result()
        if verdict.status == "stopped" and self._watches_stop:
            await asyncio.wait({consuming}, timeout=self._rules.stop_grace_s)
        _cancel(consuming)  # readers get the end while the source is closed
        return verdict

    async def _close(self, consuming: asyncio.Task[RunState]) -> None:
        await asyncio.wait({consuming}, timeout=CLOSE_TIMEOUT_S)
        if not consuming.done():
            log.error("run %r: its source does not end when it is cancelled", self._place.id)

    async def _consume(self, source: AsyncIterator[object]) -> RunState:
        """Write what the source gives; how it ended is the result."""
        is_empty = not self._plan.has_items
        try:
            for item in self._plan.first:
                await self._write(item)
            async for value in source:
                is_empty = False
                await self._take(value)
        except (NotAnItem, records.Forged) as error:
            return RunState("failed", str(error))
        except _NotWritten:
            return FINISHED  # as far as it came: the writer itself tells why it could not go on
        except (Exception, GeneratorExit) as error:
            log.warning("run %r: its source failed", self._place.id, exc_info=error)
            raised = error if isinstance(error, Exception) else SourceExit(error)
            words = safe_error_text(raised, self._rules.error_text, class_name, log)
            return RunState("failed", words)
        finally:
            await close(source)
        return RunState("failed", "the source gave nothing") if is_empty else FINISHED

    async def _take(self, value: object) -> None:
        """Write what the source gave."""
        if isinstance(value, Step):
            await self._write_step(value)
            return
        for item in self._items.items(value):
            await self._write(item)

    async def _write_step(self, step: Step) -> None:
        """Write that a step is done, and wait until the stream has it: the next is not begun."""
        if not isinstance(step.key, str) or not step.key:
            raise NotAnItem("the key of a Step is a str that is not empty")
        items = [item for value in step.items for item in self._items.items(value)]
        try:
            record = records.step(step.key, msgspec.Raw(json_text(plain(step.value))))
        except (TypeError, ValueError) as error:
            raise NotAnItem(f"the value of the step {step.key!r} is not JSON: {error}") from error
        self._plan.step_bytes += len(record)
        if self._plan.step_bytes > MOST_STEP_BYTES:
            raise NotAnItem(f"the steps of a run hold no more than {MOST_STEP_BYTES:,} bytes")
        try:
            if items:
                await self._output.flush()  # so that one request takes them all
            for item in items:
                await self._write(item)
            await self._output.write(record)
            await self._output.flush()
        except StreamError as error:
            raise _NotWritten from error

    async def _is_left(self, state: RunState) -> bool:
        """Return whether the run waits for another producer, and has no end yet.

        A stop that came meanwhile is its end.
        """
        if self._wait is None or state is TAKEN_OVER:
            return False
        if state is not SHUT_DOWN and (self._plan.closes or state.status == "stopped"):
            return False
        try:
            if await self._wish.leave(self._lease.orphan_after_s):
                return True
        except StreamError as error:
            log.info("run %r: it is left without a note: %s", self._place.id, error)
            return True
        self.outcome = STOPPED
        return False

    async def _write(self, item: object) -> None:
        try:
            await self._output.write(records.item(item))
            self._plan.count += 1
        except (TypeError, ValueError) as error:
            raise NotAnItem(f"what the source gave is not JSON: {error}") from error
        except StreamError as error:
            raise _NotWritten from error

    def _unwritten(self, error: Exception) -> str:
        """Return what readers get of an error of the writer: never the URL of the stream."""
        if not isinstance(error, StreamError) or error.chunk is None:
            return f"an item could not be written: {type(error).__name__}"
        number, size = error.chunk
        return sendable(f"item {number}, of {size:,} bytes, could not be written: {error.reason}")

    async def _end(self, state: RunState) -> bool:
        """Write the end; False when the run is somebody else's by now."""
        count = self._plan.count if self._is_all_written else None
        closing = self._items.closing() if self._is_all_written else ()
        ending = [*closing, *self._form.ending(state, self._items.finish_reason)]
        items = [records.end(state, count), *_encoded(ending)]
        is_ours = await places.end(self._place.items, self._epoch, items, self._rules.retry_for_s)
        if is_ours:
            leases = [self._lease] if self._wait is None else [self._lease, self._wait]
            await asyncio.gather(self._wish.delete(), *(lease.delete() for lease in leases))
        return is_ours

    async def _watch(self) -> None:
        """Hear of a stop from any replica, and acknowledge it."""
        pause_s = min(self._lease.beat_s, LONGEST_PAUSE_S)
        await _until_done(lambda: self._wish.heard(self._lease.orphan_after_s), pause_s)
        self._stopped.set()
        self.end(STOPPED)
        await _until_done(lambda: self._wish.acknowledge(self._rules.stop_grace_s), pause_s)

    async def _flush(self) -> None:
        """Find out that the writer has failed also while the source gives nothing."""
        with contextlib.suppress(Exception):  # whatever it failed with; or it is closed
            while True:
                await asyncio.sleep(self._lease.beat_s)
                await self._output.flush()
        self.end(TAKEN_OVER)  # the writer itself tells more as it is left

    async def _beat(self) -> None:
        """Keep the lease for as long as the producer lives."""
        await keep_beating(self._place, self._lease, self._epoch)
        self.end(TAKEN_OVER)

    async def _use_stream(self) -> None:
        # At the tail this is the least that counts as a use, with which the time to live begins
        # anew: a HEAD and, on some servers, a read from `now` do not.
        offset = self._output.next_offset or BEGINNING
        async with self._place.items.request("GET", query={"offset": offset}):
            pass

    async def _repeat(self, keep: Callable[[], Awaitable[object]], every_s: float) -> None:
        """Use a stream again and again; if it is gone, the next item finds that out."""
        while True:
            await asyncio.sleep(every_s)
            try:
                await keep()
            except StreamError as error:
                log.info("run %r: one of its streams could not be kept: %s", self._place.id, error)


async def _until_done(ask: Callable[[], Awaitable[None]], pause_s: float) -> None:
    """Ask until it succeeds: whatever goes wrong, a run that cannot be stopped is worse."""
    while True:
        try:
            await ask()
        except Exception as error:
            log.info("no stop of a run is heard", exc_info=error)
            await asyncio.sleep(pause_s)
        else:
            return


def _cancel(consuming: asyncio.Task[RunState]) -> None:
    """Cancel a task once: the second time, it would not wait until its source is closed."""
    if not consuming.cancelling():
        consuming.cancel()


async def _ended_elsewhere(run: Place) -> RunState:
    """Return STOPPED if somebody else has ended the run so, else TAKEN_OVER."""
    with contextlib.suppress(StreamError):
        if (await run.items.head()).is_closed and await how_it_ended(run) == STOPPED:
            return STOPPED
    return TAKEN_OVER


def _encoded(ending: Iterable[object]) -> Iterator[bytes]:
    """Yield the items as JSON, without the end of what could not be written when it began."""
    for item in ending:
        with contextlib.suppress(UnicodeEncodeError):
            yield msgspec.json.encode(item)


async def close(source: AsyncIterator[object]) -> None:
    """Close what a source holds, such as a connection to a model; that it fails is only logged."""
    aclose = getattr(source, "aclose", None)
    if aclose is None:
        return
    try:
        await aclose()
    except Exception as error:
        log.warning("the source of a run could not be closed", exc_info=error)
