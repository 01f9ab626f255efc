"""The event loop that works for all other threads of a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
    from concurrent.futures import Future
    from contextlib import AbstractContextManager

T = TypeVar("T")

IN_A_COROUTINE = (
    "headgate.sync waits, which would hold up the event loop that runs in this thread: "
    "use `headgate` there"
)


class Calls:
    """Calls by a loop of functions in a thread, one after the other.

    Args:
        contains_exits: Whether what ends a thread, as SystemExit, is an error for the loop. It is
            raised in the thread otherwise, and the call has no result.
    """

    def __init__(self, *, contains_exits: bool = True) -> None:
        self._contains_exits = contains_exits
        self._calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

    def ask(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Have the thread call the function after those before it. Call this in the loop."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._calls.put(partial(self._settle, future, function))
        return future

    def end(self) -> None:
        """End the work after the calls so far."""
        self._calls.put(None)

    def work(self) -> None:
        """Make the calls in this thread, to the end."""
        while (call := self._calls.get()) is not None:
            call()

    def _settle(self, future: asyncio.Future[T], function: Callable[[], T]) -> None:
        if future.cancelled():
            return
        settle: Callable[[], None]
        try:
            settle = partial(future.set_result, function())
        except BaseException as error:
            is_usual = isinstance(error, Exception) and not isinstance(error, StopIteration)
            if not (self._contains_exits or isinstance(error, Exception)):
                raise
            # As themselves, the others would end the loop.
            raised = error if is_usual else RuntimeError(f"{type(error).__name__} in a thread")
            settle = partial(future.set_exception, raised)
        future.get_loop().call_soon_threadsafe(_unless_done, future, settle)


class _Loop(asyncio.SelectorEventLoop):
    """A loop that also looks up addresses while the interpreter exits.

    Python starts no threads then, and ends those of its executors before: no run could be ended by
    a new connection. So what a loop cannot do itself is done in one thread that is there. No other
    loop, such as uvloop's, is as indifferent to a fork as this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self._helper = Calls()
        threading.Thread(target=self._helper.work, name="headgate.sync helper", daemon=True).start()

    @override
    def run_in_executor(  # its executor is always this thread
        self, executor: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        return self._helper.ask(partial(func, *args))


class LoopThread:
    """An event loop that runs in a thread for as long as the process does."""

    def __init__(self) -> None:
        self._loop = _Loop()
        self.left_at_exit: set[AbstractContextManager[object, bool | None]] = set()
        self.entered: set[object] = set()  # what no forked process may finalize
        self._ident = 0
        threading.Thread(target=self._serve, name="headgate.sync", daemon=True).start()

    def call(self, function: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call the function in the loop, and wait for what it returns or raises.

        What interrupts the waiting, such as KeyboardInterrupt, cancels it.
        """
        self._check_may_wait()
        return _result(self.begin(function()), lambda: None)

    def call_back(self, function: Callable[[Calls], Coroutine[Any, Any, T]]) -> T:
        """Call the function in the loop with the calls that this thread makes while it waits.

        They may wait for long, and belong to a request of this thread.
        """
        self._check_may_wait()
        calls = Calls(contains_exits=False)
        future = self.begin(function(calls))
        future.add_done_callback(lambda _: calls.end())
        return _result(future, calls.work)

    def begin(self, coroutine: Coroutine[Any, Any, T]) -> Future[T]:
        """Have the loop run a coroutine, without waiting for it."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop)

    def _check_may_wait(self) -> None:
        """Raise RuntimeError in a thread whose own event loop would be held up."""
        try:
            running = asyncio.get_running_loop()
        except RuntimeError:
            return
        # The threads of gevent are one for asyncio, so that each has the loop of this one.
        if running is not self._loop or threading.get_ident() == self._ident:
            raise RuntimeError(IN_A_COROUTINE)

    def _serve(self) -> None:
        # In a child process that is forked, this frame is never left, since its thread is not
        # there. So nothing that it refers to is finalized there: sockets would be taken off the
        # parent's epoll, which the child shares.
        self._ident = threading.get_ident()
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()


def _unless_done(future: asyncio.Future[Any], settle: Callable[[], None]) -> None:
    if not future.done():
        settle()


def _result(future: Future[T], work: Callable[[], None]) -> T:
    """Return the result of what the loop does, after some work here."""
    try:
        work()
        return future.result()
    except BaseException:
        future.cancel()  # no effect on what raised by itself
        raise


def iterated(items: AsyncGenerator[T]) -> Generator[T]:
    """Yield what an asynchronous generator gives in the loop.

    Nothing waits until the generator is closed: the end may be a garbage collection, in any thread.
    """
    thread, turn = current(), asyncio.Lock()  # what is interrupted ends before it is closed

    async def following() -> tuple[T] | None:
        # In a tuple, as None may be an item.
        async with turn:
            try:
                return (await anext(items),)
            except StopAsyncIteration:
                return None

    async def close() -> None:
        async with turn:
            await items.aclose()

    try:
        while (item := thread.call(following)) is not None:
            yield item[0]
    finally:
        thread.begin(close())


_lock = threading.Lock()
_current: LoopThread | None = None


def current() -> LoopThread:
    """Return the loop of this process; the first call starts it."""
    global _current
    if _current is None:  # without the lock later on, which the handler of a signal cannot take
        with _lock:
            _current = _current or LoopThread()
    return _current


def _forget() -> None:
    """Begin anew in a child process: threads are not forked, and a lock may be held for ever."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


@atexit.register
def _close() -> None:
    """Close what is open as the interpreter exits, while daemon threads go on."""
    if _current is not None:
        for user in list(_current.left_at_exit):
            user.__exit__(None, None, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
