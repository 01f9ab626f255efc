"""Sources of runs that are iterated in a thread, and read in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from typing import TYPE_CHECKING

from headgate.runs.stored.progress import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from headgate.sync.loop_thread import LoopThread

log = logging.getLogger("headgate.runs")

# Few, since each may be large, and what a stop comes upon here is dropped; but several, so that the
# threads need not take turns for each of them.
MOST_WAITING = 16


class ThreadSource:
    """An async iterator of what an iterator gives in a thread.

    The iterator is closed when it has come to its end, or between two items once this is closed:
    nothing can interrupt it while it waits for something itself.
    """

    def __init__(self, source: Iterable[object], thread: LoopThread) -> None:
        self._iterator = _iterator(source)
        self._loop_thread = thread
        self._waiting: deque[object] = deque()
        self._moved = threading.Condition()  # guards what follows
        self._is_awaited = False  # all was taken, and the next item is waited for
        self._is_closed = False  # nobody reads any more
        self._is_over = False  # nothing comes any more
        self._error: Exception | None = None
        self._arrived = asyncio.Event()  # for the loop
        self._watch: asyncio.Task[None] | None = None
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._begin: Callable[[], None] | None = None

    def start_late(
        self,
        make_source: Callable[[], Iterable[object]],
        on_begin: Callable[[ThreadSource], object],
        on_end: Callable[[ThreadSource], object],
    ) -> None:
        """Iterate what is made in a thread of its own, once the first item is wanted."""
        context = copy_context()

        def begin() -> None:
            on_begin(self)
            context.run(self.start, on_end, make_source)

        self._begin = begin

    def start(
        self,
        on_end: Callable[[ThreadSource], object],
        make_source: Callable[[], Iterable[object]] | None = None,
    ) -> None:
        """Iterate in a thread of its own, in the caller's context."""
        context = copy_context()

        def pump() -> None:
            with contextlib.suppress(BaseException):  # the run tells
                try:
                    context.run(self.pump, make_source)
                except BaseException as error:
                    self.give_up(error)
                    raise
            on_end(self)

        self._thread = threading.Thread(target=pump, name="headgate run", daemon=True)
        try:
            self._thread.start()
        except BaseException as error:
            self.give_up(error)
            raise

    def give_up(self, error: BaseException) -> None:
        """Close an iterator that is not to be iterated, and have its run, if there is one, fail."""
        self.close_iterator()
        self._end(_told(error))

    def join(self, timeout_s: float) -> bool:
        """Wait for the thread, and return whether it has ended."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def pump(self, make_source: Callable[[], Iterable[object]] | None = None) -> None:
        """Iterate in this thread to the end, or until this is closed.

        An exception is told to the run, and raised again. Whatever else ends a thread is for the
        caller to tell.
        """
        try:
            if make_source is not None:
                self._iterator = _iterator(make_source())
            try:
                for item in self._iterator:
                    if not self._give(item):
                        break
            finally:
                self.close_iterator()
        except Exception as error:
            if self._is_closed:  # so that nobody is told
                log.warning("the source of a run could not be closed", exc_info=error)
            self._end(error)
            raise
        self._end(None)

    def close_iterator(self) -> None:
        """Close what the iterator holds."""
        close = getattr(self._iterator, "close", None)
        if close is not None:
            close()

    async def stopped(self, event: asyncio.Event) -> threading.Event:
        """Return what is set when the event is, for as long as this is not closed."""

        async def watch() -> None:
            await event.wait()
            self._stopped.set()

        if self._watch is None:
            self._watch = asyncio.create_task(watch())
        return self._stopped

    def __aiter__(self) -> ThreadSource:
        return self

    async def __anext__(self) -> object:
        begin, self._begin = self._begin, None
        if begin is not None:
            begin()
        while True:
            with self._moved:
                if self._waiting:
                    self._moved.notify()
                    return self._waiting.popleft()
                if self._error is not None:
                    raise self._error
                if self._is_over:
                    raise StopAsyncIteration
                self._arrived.clear()
                self._is_awaited = True
                self._moved.notify()
            await self._arrived.wait()

    async def aclose(self) -> None:
        """Have the iterator closed by its thread, and do not wait for it."""
        with self._moved:
            self._is_closed = True
            self._moved.notify()
        self._stopped.set()  # also of a run that ends for another reason: nobody reads on
        if self._watch is not None:
            self._watch.cancel()

    def _give(self, item: object) -> bool:
        """Wait for room; return whether somebody still reads."""
        with self._moved:
            self._moved.wait_for(lambda: self._is_closed or len(self._waiting) < MOST_WAITING)
            if self._is_closed:
                return False
            self._waiting.append(item)
            self._is_awaited = False
            if len(self._waiting) == 1:
                self._loop_thread.post(self._arrived.set)
            if isinstance(item, Step):  # what comes after it begins when the stream has it
                self._moved.wait_for(lambda: self._is_closed or self._is_awaited)
            return not self._is_closed

    def _end(self, error: Exception | None) -> None:
        with self._moved:
            self._is_over, self._error = True, error
        self._loop_thread.post(self._arrived.set)


def _iterator(source: Iterable[object]) -> Iterator[object]:
    if not isinstance(source, Iterable) or isinstance(source, str | bytes | Mapping):
        raise TypeError(f"a run takes an iterator of items here, not {type(source).__name__}")
    return iter(source)


def _told(error: BaseException) -> Exception:
    """Return what the run's task may raise: SystemExit, for instance, would end the loop."""
    if isinstance(error, Exception):
        return error
    return RuntimeError(f"{type(error).__name__} in the thread of a source")
