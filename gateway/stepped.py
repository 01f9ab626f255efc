"""Handlers that their connection steps itself, without a task for each request.

A handler is called in the call that parsed the request. It returns

* a value: the answer is written at once, without a task, a future or a pass of the event loop;
* a ``Later``: whatever will be set as its result, such as the answer behind a commit;
* or a coroutine, which is what an ordinary ``async def`` returns. Where that awaits a ``Later`` (an
  origin's answer), it stays suspended, and is resumed when that is set, in the order of waiting,
  behind the step that set it, in turns of TURN_S. Where it awaits anything of asyncio (the rest of
  a body, a lock, a timer), it runs from there on as an ``asyncio.Task``, without being started
  again.

No step runs inside a task: ``asyncio.timeout`` and ``current_task`` fail loudly in it, where they
would otherwise mean the task of whoever set a ``Later``. A handler that needs them awaits
``in_task()`` first.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from gateway.later import HAD_ITS_TURN, Later, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

T = TypeVar("T")
_RUNNING, _CANCELLED, _BEGUN = 1, 2, 4  # flags of a Step


@types.coroutine
def in_task() -> Generator[None, None, None]:
    """Go on as an asyncio.Task, for what needs one. In a task it does nothing."""
    if turn.depth:
        yield None


async def outcome_of(begun: Any) -> Any:  # noqa: ANN401 - whatever a handler may return
    """Return the value of what a handler has returned, in the place of its Step."""
    return await begun if isinstance(begun, Later | types.CoroutineType) else begun


class Step(Generic[T]):
    """A handler that runs. `on_done` is called once, with its value or its error.

    Whoever starts a step keeps a reference to it: the garbage collector would end one that nobody
    holds, with its clean-up undone.
    """

    __slots__ = ("_awaited", "_begin", "_context", "_coro", "_flags", "_on_done", "task")

    def __init__(
        self,
        begin: Callable[[], T | Later[T] | Coroutine[Any, None, T]],
        on_done: Callable[[T | None, BaseException | None], object],
        context: Context | None = None,
    ) -> None:
        """Give the handler, and its task, this context, whoever resumes it."""
        self._begin: Callable[[], T | Later[T] | Coroutine[Any, None, T]] | None = begin
        self._on_done: Callable[[T | None, BaseException | None], object] | None = on_done
        self._context = context
        self._coro: Coroutine[Any, None, T] | None = None  # if that is what the handler returned
        self._awaited: Any = None  # a Later; of a task that has not begun, what it waits for
        self._flags = 0
        self.task: asyncio.Task[T] | None = None

    def done(self) -> bool:
        """Return whether the handler has ended."""
        return self._on_done is None

    def run(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Call the handler, and run it until it ends or has to wait.

        Whoever knows the running `loop` gives it: Python 3.11 asks the system before it tells.
        """
        if not turn.depth and asyncio.current_task(loop) is not None:
            self._start_soon()  # not inside somebody's task
            return
        turn.depth += 1
        try:
            self._call()
        finally:
            turn.depth -= 1
        if turn.ready:
            turn.settle()

    def resume(self, later: Later[Any], /) -> None:
        """Go on behind the Later that the handler awaits; it may be cancelled meanwhile."""
        if self._awaited is not later:
            return
        if self._flags & _CANCELLED:
            self._cancel_now()
        elif self._coro is not None:
            self._advance(self._coro)
        elif self._begin is not None:
            self._call()
        else:
            self._end_as(later)

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
                self._cancel_outermost()
            else:
                self._flags |= _CANCELLED
                self._start_soon()

    def _start_soon(self) -> None:
        self._awaited = HAD_ITS_TURN
        turn.add_behind(self)

    def _cancel_outermost(self) -> None:
        turn.depth += 1
        try:
            self._cancel_now()
        finally:
            turn.depth -= 1
        if turn.ready:
            turn.settle()

    def _cancel_now(self) -> None:
        """Raise CancelledError where the handler waits."""
        self._flags &= ~_CANCELLED
        if self._coro is not None:
            self._advance(self._coro, cancels=True)
        else:  # it has not begun, or waits for nothing but a Later
            self._awaited = None
            self._end(None, asyncio.CancelledError())

    def _call(self) -> None:
        """Call the handler, and see to what it returns."""
        begin, self._begin = self._begin, None
        assert begin is not None, "it begins once"
        begun: Any = None
        error: BaseException | None = None
        self._flags |= _RUNNING
        try:
            begun = begin() if self._context is None else self._context.run(begin)
        except (KeyboardInterrupt, SystemExit) as fatal:
            self._end(None, fatal)
            raise
        except BaseException as failure:  # noqa: BLE001 - its owner decides
            error = failure
        finally:
            self._flags &= ~_RUNNING
        if error is not None:
            self._end(None, error)
            error = None  # as in _advance
        elif isinstance(begun, types.CoroutineType):
            self._coro = begun
            self._advance(begun)
        elif not isinstance(begun, Later):
            self._end(cast("T", begun), None)
        elif begun._done:
            self._end_as(begun)
        elif self._flags & _CANCELLED:
            self._end(None, asyncio.CancelledError())
        else:
            self._awaited = begun
            begun.subscribe(self)

    def _end_as(self, later: Later[T]) -> None:
        error = later._error
        self._end(later._value, None if error is None else error.with_traceback(None))

    def _advance(self, coro: Coroutine[Any, None, T], *, cancels: bool = False) -> None:
        """Run the handler's coroutine up to where it waits or ends."""
        value: Any = None
        error: BaseException | None = None
        while True:
            self._awaited = None
            self._flags |= _RUNNING
            try:
                awaited = self._send(coro, cancels=cancels)
            except StopIteration as stop:
                value = stop.value
                break
            except (KeyboardInterrupt, SystemExit) as fatal:
                self._end(None, fatal)
                raise
            except BaseException as failure:  # noqa: BLE001 - its owner decides
                error = failure
                break
            finally:
                self._flags &= ~_RUNNING
            cancels = bool(self._flags & _CANCELLED)
            self._flags &= ~_CANCELLED
            if not cancels or _takes_time_to_cancel(awaited):
                self._wait_for(awaited)
                return
        # Not where it was caught: it would be the context of the next request's errors, and in the
        # log with them.
        self._end(value, error)
        error = None  # its traceback has this frame: they would stay in memory together

    def _send(self, coro: Coroutine[Any, None, T], *, cancels: bool) -> Any:  # noqa: ANN401 - what is awaited
        if self._context is None:
            return coro.throw(asyncio.CancelledError()) if cancels else coro.send(None)
        if cancels:
            return self._context.run(coro.throw, asyncio.CancelledError())
        return self._context.run(coro.send, None)

    def _wait_for(self, awaited: Any) -> None:  # noqa: ANN401 - a Later, or what asyncio waits for
        if isinstance(awaited, Later):
            self._awaited = awaited
            awaited.subscribe(self)
        else:
            self._promote(awaited)

    def _promote(self, awaited: Any) -> None:  # noqa: ANN401 - what asyncio has to wait for
        """Go on as a task."""
        self._flags &= ~_BEGUN
        self._awaited = awaited
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._rest(awaited), context=self._context)
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        self.task = None  # its error has this step: they would stay in memory together
        if task.cancelled():
            if not self._flags & _BEGUN:  # asyncio never began it, so the handler does not know
                if _takes_time_to_cancel(self._awaited):
                    self._promote(self._awaited)
                else:
                    self._cancel_outermost()
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
        assert coro is not None, "only a coroutine awaits"
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
