"""Handlers as coroutines that their connection steps itself, without a task for each request.

A handler is an ordinary ``async def``. The connection starts it in the call that parsed the
request:

* it returns: the answer is written at once, without a task, a future or a pass of the event loop;
* it awaits a ``Later`` (an origin's answer, a commit): it stays suspended, and is resumed when that
  is set, in the order of waiting, behind the step that set it, in turns of TURN_S;
* it awaits anything of asyncio (the rest of a body, a lock, a timer): from there on it runs as an
  ``asyncio.Task``, without being started again.

No step runs inside a task: ``asyncio.timeout`` and ``current_task`` fail loudly in it, where they
would otherwise mean the task of whoever set a ``Later``. A handler that needs them awaits
``in_task()`` first.
"""

from __future__ import annotations

import asyncio
import types
from collections import deque
from time import perf_counter
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterable
    from contextvars import Context

T = TypeVar("T")
TURN_S = 0.002  # how long steps run one after the other before the event loop has its turn
_RUNNING, _CANCELLED, _BEGUN = 1, 2, 4  # flags of a Step


class _Waiter(Protocol):
    """Someone who is resumed when a Later is set."""

    def resume(self, later: Later[Any], /) -> None: ...


class _Turn:
    """The steps to be resumed next. They run one at a time, never one inside another."""

    def __init__(self) -> None:
        self.depth = 0
        self.ready: deque[tuple[_Waiter, Later[Any]]] = deque()
        self._scheduled: asyncio.AbstractEventLoop | None = None

    def add(self, waiters: Iterable[_Waiter], later: Later[Any]) -> None:
        """Resume these waiters: now, or behind the step that runs."""
        self.ready.extend([(waiter, later) for waiter in waiters])
        if self.depth:
            return
        if asyncio.current_task() is None:
            self.drain()
        else:
            self.schedule()

    def schedule(self) -> None:
        """Resume those who are ready in the next pass of the loop."""
        loop = asyncio.get_running_loop()
        if self._scheduled is not loop:
            self._scheduled = loop
            loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        self._scheduled = None
        if not self.depth:
            self.drain()

    def drain(self) -> None:
        """Resume those who are ready, for at most TURN_S at a time."""
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


_turn = _Turn()  # a process has one event loop; tests have one after the other


class Later(Generic[T]):
    """A result that is set once. Any number of handlers and tasks may await it."""

    __slots__ = ("__weakref__", "_done", "_error", "_value", "_waiters")

    def __init__(self) -> None:
        self._done = False
        self._value: Any = None
        self._error: BaseException | None = None
        # In the order of waiting; a dictionary, as one may leave among thousands.
        self._waiters: dict[_Waiter, None] | None = None

    def done(self) -> bool:
        """Return whether the result, or the error instead of it, is set."""
        return self._done

    def result(self) -> T:
        """Return the result, once it is set. Raises the error that was set instead."""
        assert self._done, "nobody asks before"
        if self._error is not None:
            # Waiters share it: without this, each would add its frames.
            raise self._error.with_traceback(None)
        value: T = self._value
        return value

    def exception(self) -> BaseException | None:
        """Return the error, once it is known that there is one."""
        return self._error

    def set_result(self, value: T) -> None:
        """Set the result. Do nothing after it: handlers may run before this returns."""
        self._finish(value, None)

    def set_exception(self, error: BaseException) -> None:
        """Set the error instead of a result. Do nothing after it, as with a result."""
        assert not isinstance(error, StopIteration), "it would end a coroutine"
        self._finish(None, error)

    def _finish(self, value: T | None, error: BaseException | None) -> None:
        if self._done:
            raise asyncio.InvalidStateError("set once")
        self._done, self._value, self._error = True, value, error
        waiters, self._waiters = self._waiters, None
        if waiters:
            _turn.add(waiters, self)

    def subscribe(self, waiter: _Waiter) -> None:
        """Resume a waiter once the result is set."""
        if self._done:
            _turn.add((waiter,), self)
            return
        if self._waiters is None:
            self._waiters = {}
        self._waiters[waiter] = None

    def unsubscribe(self, waiter: _Waiter) -> None:
        """Forget a waiter."""
        if self._waiters is not None:
            self._waiters.pop(waiter, None)

    def __await__(self) -> Generator[Any, None, T]:
        if not self._done:
            if asyncio.current_task() is None:
                yield self  # to a Step
            else:
                wake = _Wake()
                self.subscribe(wake)
                try:
                    yield from wake.future
                finally:
                    self.unsubscribe(wake)
        return self.result()


class _Wake:
    """A task that waits for a Later."""

    __slots__ = ("future",)

    def __init__(self) -> None:
        self.future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def resume(self, _: Later[Any], /) -> None:
        """Wake the task."""
        if not self.future.done():
            self.future.set_result(None)


@types.coroutine
def in_task() -> Generator[None, None, None]:
    """Go on as an asyncio.Task, for what needs one. In a task it does nothing."""
    if asyncio.current_task() is None:
        yield None


class Step(Generic[T]):
    """A handler that runs. `on_done` is called once, with its value or its error.

    Whoever starts a step keeps a reference to it: the garbage collector would end one that nobody
    holds, with its clean-up undone.
    """

    __slots__ = ("_awaited", "_context", "_coro", "_flags", "_on_done", "task")

    def __init__(
        self,
        coro: Coroutine[Any, None, T],
        on_done: Callable[[T | None, BaseException | None], object],
        context: Context | None = None,
    ) -> None:
        """Give the handler, and its task, this context, whoever resumes it."""
        self._coro = coro
        self._on_done: Callable[[T | None, BaseException | None], object] | None = on_done
        self._context = context
        self._awaited: Any = None  # a Later; of a task that has not begun, what it waits for
        self._flags = 0
        self.task: asyncio.Task[T] | None = None

    def done(self) -> bool:
        """Return whether the handler has ended."""
        return self._on_done is None

    def run(self) -> None:
        """Start the handler, and run it until it ends or has to wait."""
        if asyncio.current_task() is None:
            self._run_outermost(None)
        else:  # not inside somebody's task
            self._start_soon()

    def resume(self, later: Later[Any], /) -> None:
        """Go on behind the Later that the handler awaits; it may be cancelled meanwhile."""
        if self._awaited is later:
            self._advance(asyncio.CancelledError() if self._flags & _CANCELLED else None)

    def cancel(self) -> None:
        """End the handler: it sees CancelledError where it waits, or where it waits next."""
        if self._on_done is None:
            return
        if self.task is not None:
            self.task.cancel()
        elif self._flags & _RUNNING:
            self._flags |= _CANCELLED
        elif self._awaited is not None:
            self._awaited.unsubscribe(self)
            if asyncio.current_task() is None:
                self._run_outermost(asyncio.CancelledError())
            else:
                self._flags |= _CANCELLED
                self._start_soon()

    def _start_soon(self) -> None:
        self._awaited = _STARTED
        _turn.ready.append((self, _STARTED))
        _turn.schedule()

    def _run_outermost(self, error: BaseException | None) -> None:
        turn = _turn
        turn.depth += 1
        try:
            self._advance(error)
        finally:
            turn.depth -= 1
        if turn.ready and not turn.depth:
            turn.drain()

    def _advance(self, error: BaseException | None) -> None:
        """Run the handler up to where it waits or ends; raise an error in it first, if given."""
        self._flags &= ~_CANCELLED
        while True:
            self._awaited = None
            self._flags |= _RUNNING
            try:
                awaited = self._send(error)
            except StopIteration as stop:
                value, error = stop.value, None
                break
            except (KeyboardInterrupt, SystemExit) as fatal:
                self._end(None, fatal)
                raise
            except BaseException as failure:  # noqa: BLE001 - its owner decides
                value, error = None, failure
                break
            finally:
                self._flags &= ~_RUNNING
            if self._flags & _CANCELLED:
                self._flags &= ~_CANCELLED
                if not _takes_time_to_cancel(awaited):
                    error = asyncio.CancelledError()
                    continue
            if isinstance(awaited, Later):
                self._awaited = awaited
                awaited.subscribe(self)
            else:
                self._promote(awaited)
            return
        self._end(value, error)

    def _send(self, error: BaseException | None) -> Any:  # noqa: ANN401 - whatever is awaited
        coro, context = self._coro, self._context
        if context is None:
            return coro.send(None) if error is None else coro.throw(error)
        if error is None:
            return context.run(coro.send, None)
        return context.run(coro.throw, error)

    def _promote(self, awaited: Any) -> None:  # noqa: ANN401 - what asyncio has to wait for
        """Go on as a task."""
        self._flags &= ~_BEGUN
        self._awaited = awaited
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._rest(awaited), context=self._context)
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            if not self._flags & _BEGUN:  # asyncio never began it, so the handler does not know
                self.task = None
                if _takes_time_to_cancel(self._awaited):
                    self._promote(self._awaited)
                else:
                    self._run_outermost(asyncio.CancelledError())
                return
            self._end(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._end(None, error)
        else:
            self._end(task.result(), None)

    def _end(self, value: T | None, error: BaseException | None) -> None:
        on_done, self._on_done = self._on_done, None
        assert on_done is not None, "it ends once"
        try:
            on_done(value, error)
        except Exception as failure:  # noqa: BLE001 - whoever has set a Later has no part in it
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_done of a step", "exception": failure}
            )

    async def _rest(self, awaited: Any) -> T:  # noqa: ANN401 - as of _promote
        return await self._resumed(awaited)

    @types.coroutine
    def _resumed(self, awaited: Any) -> Generator[Any, Any, T]:  # noqa: ANN401 - as of _promote
        self._flags |= _BEGUN
        self._awaited = None
        coro, thrown = self._coro, None
        while True:
            try:
                yield awaited
            except BaseException as error:  # noqa: BLE001 - the handler decides
                thrown = error
            try:
                awaited = coro.send(None) if thrown is None else coro.throw(thrown)
            except StopIteration as stop:
                value: T = stop.value
                return value
            finally:
                thrown = None


def _takes_time_to_cancel(awaited: object) -> bool:
    """Cancel what a handler awaits, as its task would; return whether that takes time.

    Another task, or a gather of some, has its own things to do at last.
    """
    return asyncio.isfuture(awaited) and awaited.cancel() and not awaited.done()


_STARTED: Later[None] = Later()
