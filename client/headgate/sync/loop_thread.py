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

from headgate import endpoint

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Coroutine, Generator

T = TypeVar("T")
_END = object()


class Calls(SimpleQueue["Callable[[], None] | None"]):
    """A queue of functions that a thread calls for the loop, one after the other, until None."""

    def ask(self, function: Callable[[], T]) -> asyncio.Future[T]:
        """Have the thread call the function. Call this in the loop."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.put(partial(_settle, future, function))
        return future

    def work(self) -> None:
        """Make the calls in this thread. Raises what ends a thread: its call is cancelled."""
        for call in iter(self.get, None):
            call()


def _settle(future: asyncio.Future[T], function: Callable[[], T]) -> None:
    settle: Callable[[], object] = future.cancel
    try:
        settle = partial(future.set_result, function())
    except StopIteration as error:  # which no future takes
        settle = partial(future.set_exception, RuntimeError(f"a call has raised {error!r}"))
    except Exception as error:  # noqa: BLE001 - the loop gets it
        settle = partial(future.set_exception, error)
    finally:
        future.get_loop().call_soon_threadsafe(lambda: future.done() or settle())


class LoopThread(asyncio.SelectorEventLoop):
    """An event loop that runs in a thread for as long as the process does.

    It also looks up addresses while the interpreter exits. Python starts no threads then, and ends
    those of its executors before: no run could be ended by a new connection. So what a loop cannot
    do itself is done in one thread that is there. No other loop, such as uvloop's, is as
    indifferent to a fork as this one.
    """

    def __init__(self) -> None:
        super().__init__()
        self.entered: dict[Any, Any] = {}  # what is open, and its twin in the loop
        self._helper = Calls()
        threading.Thread(target=self._helper.work, name="headgate.sync helper", daemon=True).start()
        # In a child process that is forked, the frame of `run_forever` is never left, since its
        # thread is not there. So nothing that this loop refers to is finalized there: sockets would
        # be taken off the parent's epoll, which the child shares.
        self._thread = threading.Thread(target=self.run_forever, name="headgate.sync", daemon=True)
        self._thread.start()

    @override
    def run_in_executor(  # its executor is always this thread
        self, executor: object, func: Callable[..., T], *args: object
    ) -> asyncio.Future[T]:
        return self._helper.ask(partial(func, *args))

    def call(self, function: Callable[[Calls], Coroutine[Any, Any, T]]) -> T:
        """Call the function in the loop, and wait for what it returns or raises.

        The calls that it gets are made by this thread while it waits. What interrupts the waiting,
        such as KeyboardInterrupt, cancels it. Raises RuntimeError where it would hold up a loop.
        """
        running = asyncio._get_running_loop()
        # The threads of gevent are one for asyncio, so that each has this loop.
        if running not in {None, self} or threading.get_ident() == self._thread.ident:
            raise RuntimeError(
                "headgate.sync waits, which would hold up the event loop that runs in this thread: "
                "use `headgate` there"
            )
        calls = Calls()
        future = asyncio.run_coroutine_threadsafe(_interruptible(function(calls)), self)
        future.add_done_callback(lambda _: calls.put(None))
        try:
            calls.work()
            return future.result()
        except BaseException:
            future.cancel()  # no effect on what raised by itself
            raise


async def _interruptible(call: Coroutine[Any, Any, T]) -> T:
    """Await a call; once it is interrupted, nobody would retrieve an error of it."""
    try:
        return await call
    except Exception:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from None
        raise


def iterated(items: AsyncGenerator[T]) -> Generator[T]:
    """Return an iterator over what an asynchronous generator gives in the loop.

    Nothing waits until the generator is closed: the end may be a garbage collection, in any thread.
    """
    return _iterated(items, current())


def _iterated(items: AsyncGenerator[T], loop: LoopThread) -> Generator[T]:
    turn = asyncio.Lock()  # what is interrupted ends before it is closed

    async def following(_: Calls) -> Any:  # noqa: ANN401 - an item, or _END
        async with turn:
            return await anext(items, _END)

    async def close() -> None:
        async with turn:
            await items.aclose()

    try:
        while True:
            if loop is not _current:
                raise of_another_process("iterator")
            if (item := loop.call(following)) is _END:
                return
            yield item
    finally:
        if loop is _current:
            asyncio.run_coroutine_threadsafe(close(), loop)


def of_another_process(what: str) -> RuntimeError:
    """Return the error for the use, in a forked process, of what its parent has opened."""
    return RuntimeError(
        f"this {what} belongs to the process that opened it, not to {os.getpid()}, which was "
        "forked from that one: open another"
    )


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
    """Close what each process opens for itself as the interpreter exits, with daemon threads."""
    for twin in [] if _current is None else [*_current.entered]:
        if twin._find is not None:
            twin.__exit__(None, None, None)
    if _current is not None:
        _current.call(_close_sessions)


async def _close_sessions(_: Calls) -> None:
    """Close the connections of clients that were not closed, or aiohttp warns of them."""
    for session in [*endpoint.sessions]:
        if session._loop is current():
            await session.close()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
