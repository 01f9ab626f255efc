"""The event loop that works for all other threads of a process, in a thread of its own."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from concurrent.futures import Future
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from headgate.sync.helper_thread import HelperThread, settle

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType
    from typing import TypeAlias

    Ask: TypeAlias = Callable[[Callable[[], object]], Awaitable[object]]

P = ParamSpec("P")
T = TypeVar("T")

IN_A_COROUTINE = (
    "headgate.sync waits, which would hold up the event loop that runs in this thread: "
    "use `headgate` there"
)


class LoopThread:
    """An event loop that runs in a thread for as long as the process does."""

    def __init__(self) -> None:
        # No other loop, such as uvloop's, is as indifferent to a fork as this one.
        self._loop = asyncio.SelectorEventLoop()
        self._loop.set_default_executor(HelperThread())
        self._exit_calls: dict[object, Callable[[], object] | None] = {}
        self.opening = threading.RLock()  # held while a PerProcess makes the object of this process
        self._ident = 0
        threading.Thread(target=self._serve, name="headgate.sync", daemon=True).start()

    def call(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Call the function in the loop, and wait for what it returns or raises.

        What interrupts the waiting, such as KeyboardInterrupt, cancels it.
        """
        future = self.submit(function, *args, **kwargs)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # no effect on what raised by itself
            raise

    def call_back(self, function: Callable[[Ask], Coroutine[Any, Any, T]]) -> T:
        """Call the function in the loop with what it may ask this thread by, which waits for it.

        What it asks is called here: it may wait for long, and belong to a request of this thread.
        """
        calls: SimpleQueue[Callable[[], None] | None] = SimpleQueue()

        async def ask(function: Callable[[], object]) -> object:
            answer: Future[object] = Future()
            calls.put(partial(settle, answer, function))
            return await asyncio.wrap_future(answer)

        future = self.submit(function, ask)
        future.add_done_callback(lambda _: calls.put(None))
        try:
            while (call := calls.get()) is not None:
                call()
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def submit(
        self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Future[T]:
        """Call the function in the loop, for a thread that waits for it later."""
        self._check_may_wait()
        return asyncio.run_coroutine_threadsafe(function(*args, **kwargs), self._loop)

    def enter(
        self, user: AbstractAsyncContextManager[object], *, is_left_at_exit: bool = False
    ) -> None:
        """Enter the block of a user in the loop, which is kept until the block is left.

        With `is_left_at_exit`, the block is left as the interpreter exits, if not before.
        """
        self.call(user.__aenter__)
        self.keep(user, partial(self.leave, user, None, None, None) if is_left_at_exit else None)

    def leave(
        self,
        user: AbstractAsyncContextManager[object],
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the block of a user in the loop."""
        if self is not current():
            return  # a child process leaves the block too, and it is still the parent's
        try:
            self.call(user.__aexit__, kind, error, traceback)
        finally:
            self.forget(user)

    def keep(self, user: object, at_exit: Callable[[], object] | None = None) -> None:
        """Remember who uses the loop, and what is called where the interpreter exits before."""
        self._exit_calls[user] = at_exit

    def forget(self, user: object) -> None:
        """Remember nothing of who does not use the loop any more."""
        self._exit_calls.pop(user, None)

    def close(self) -> None:
        """Call what its users want to be called as the interpreter exits."""
        for at_exit in list(self._exit_calls.values()):
            if at_exit is not None:
                at_exit()

    def post(self, callback: Callable[[], object]) -> None:
        """Have the loop call this soon, and do not wait for it."""
        self._loop.call_soon_threadsafe(callback)

    def begin(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Have the loop run this, and do not wait for it."""
        asyncio.run_coroutine_threadsafe(coroutine, self._loop)

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


_lock = threading.Lock()
_current: LoopThread | None = None


def current() -> LoopThread:
    """Return the loop of this process; the first call starts it."""
    global _current
    with _lock:
        if _current is None:
            _current = LoopThread()
        return _current


class PerProcess(Generic[T]):
    """An object of which each process has its own: a forked one cannot use that of its parent."""

    def __init__(self, make: Callable[[LoopThread], T]) -> None:
        self._make = make
        self._made: tuple[LoopThread, T] | None = None

    def here(self) -> T:
        """Return what this process has; the first call makes it."""
        thread = current()
        with thread.opening:
            if self._made is None or self._made[0] is not thread:
                self._made = thread, self._make(thread)
            return self._made[1]


def _forget() -> None:
    """Begin anew in a child process: threads are not forked, and a lock may be held for ever."""
    global _current, _lock
    _current, _lock = None, threading.Lock()


@atexit.register
def _close() -> None:
    """Close what is open as the interpreter exits, while daemon threads go on."""
    if _current is not None:
        _current.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
