"""Results that are set later, for handlers that run as steps and for tasks."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

T = TypeVar("T")
TURN_S = 0.002  # for how long steps run before the event loop continues


class LaterWaiter(Protocol):
    """A step or task that is resumed when a Later is set."""

    def resume(self, later: Later[Any], /) -> None:
        """Continue, now that `later` is set."""


class _Turn:
    """The steps to be resumed next; they run one at a time, never one inside another.

    A block of code `with turn` sets several Laters: their steps are resumed after the block.
    """

    def __init__(self) -> None:
        self.depth = 0
        self.ready: deque[tuple[LaterWaiter, Later[Any]]] = deque()
        self._scheduled: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        self.depth += 1

    def __exit__(self, *_: object) -> None:
        self.depth -= 1
        self.settle()

    def add(self, waiters: Iterable[LaterWaiter | asyncio.Future[None]], later: Later[Any]) -> None:
        """Resume these waiters now, or after the running step."""
        ready = self.ready
        for waiter in waiters:
            if not isinstance(waiter, asyncio.Future):
                ready.append((waiter, later))
            elif not waiter.done():  # its task runs in the loop's next pass
                waiter.set_result(None)
        self.settle()

    def add_last(self, waiter: LaterWaiter) -> None:
        """Resume a waiter in a later pass of the loop, after those that are ready."""
        self.ready.append((waiter, HAD_ITS_TURN))
        self.schedule()

    def settle(self) -> None:
        """Resume the waiters that are ready, unless a step runs or this pass's turn is used up.

        The turn is used up once some waiters were left for the next pass of the loop. Otherwise
        each connection with input in this pass would start another turn.
        """
        if self.depth or not self.ready or self._scheduled is asyncio.get_running_loop():
            return
        if asyncio.current_task() is None:
            self.drain()
        else:
            self.schedule()

    def schedule(self) -> None:
        """Resume the waiters that are ready in the next pass of the loop."""
        loop = asyncio.get_running_loop()
        if self._scheduled is not loop:
            self._scheduled = loop
            loop.call_soon(self.drain)

    def drain(self) -> None:
        """Resume the waiters that are ready for at most TURN_S, the rest in the next pass."""
        self._scheduled = None
        ends = perf_counter() + TURN_S
        ready = self.ready
        self.depth += 1
        try:
            while ready:
                waiter, later = ready.popleft()
                waiter.resume(later)
                if ready and perf_counter() >= ends:
                    break
        finally:
            self.depth -= 1
            if ready:
                self.schedule()


turn = _Turn()  # one for the process: it has one event loop at a time


class Later(Generic[T]):
    """A result that is set once. Any number of handlers and tasks may await it."""

    __slots__ = ("__weakref__", "_done", "_error", "_value", "_waiters")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        # In the order of waiting; a dictionary, so that one of thousands leaves quickly.
        self._waiters: dict[LaterWaiter | asyncio.Future[None], None] | None = None

    def done(self) -> bool:
        """Return whether the result, or the error instead of it, is set."""
        return self._done

    def result(self) -> T:
        """Return the result, once it is set. Raises the error that was set instead."""
        assert self._done, "the result is not set"
        if self._error is not None:
            # The waiters share the error: each would add its frames to the traceback.
            raise self._error.with_traceback(None)
        value: T = self._value
        return value

    def exception(self) -> BaseException | None:
        """Return the error, or None if it is not set so far."""
        return self._error

    def set_result(self, value: T) -> None:
        """Set the result. Call this last: handlers may run before it returns."""
        if self._done:
            raise asyncio.InvalidStateError("set once")
        self._done, self._value = True, value
        waiters, self._waiters = self._waiters, None
        if waiters:
            turn.add(waiters, self)

    def set_exception(self, error: BaseException) -> None:
        """Set an error instead of a result. Call this last, like set_result."""
        assert not isinstance(error, StopIteration), "it would end a coroutine"
        if not self._done:
            self._error = error
        self.set_result(cast("T", None))

    def subscribe(self, waiter: LaterWaiter | asyncio.Future[None]) -> None:
        """Resume a waiter, or set a future, once the result is set."""
        if self._done:
            turn.add((waiter,), self)
            return
        if self._waiters is None:
            self._waiters = {}
        self._waiters[waiter] = None

    def unsubscribe(self, waiter: LaterWaiter | asyncio.Future[None]) -> None:
        """Forget a waiter."""
        if self._waiters is not None:
            self._waiters.pop(waiter, None)

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            if turn.depth:
                yield self  # to the running Step
            else:
                wake = asyncio.get_running_loop().create_future()
                self.subscribe(wake)
                try:
                    yield from wake
                finally:
                    self.unsubscribe(wake)
        error = self._error
        if error is None:
            value: T = self._value
            return value
        del self  # breaks the reference cycle of the error and this frame
        try:
            raise error.with_traceback(None)
        finally:
            del error


async def is_set_within(later: Later[Any], timeout_s: float | None) -> bool:
    """Wait until a Later is set or the time is over; return whether it is set.

    An error that was set is not raised.
    """
    if not later.done():
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        later.subscribe(wake)
        try:
            await asyncio.wait([wake], timeout=timeout_s)
        finally:
            later.unsubscribe(wake)
    return later.done()


HAD_ITS_TURN: Later[None] = Later()  # for waiters that only let others go first
