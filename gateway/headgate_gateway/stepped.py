"""Handlers that their connection runs itself, without a task for each request.

A handler is called inside the call that parsed its request. It returns

* a value: the response is written at once, without a task, a future or a pass of the event loop;
* a ``Later``, whose result will be the value, such as the response after a commit;
* or a coroutine, as an ordinary ``async def`` does. While the coroutine awaits a ``Later`` (such as
  an origin's response), it is suspended without a task. Once the ``Later`` is set, the coroutines
  that wait for it are resumed in the order of waiting, after the code that set it, in turns of
  TURN_S. When the coroutine awaits a future of asyncio (the rest of a body, a lock, a timer), it
  continues as an ``asyncio.Task`` from there.

A step never runs inside a task, so ``asyncio.timeout`` and ``current_task`` fail loudly in it.
Inside one they would mean the task of the code that set a ``Later``. A handler that needs them
awaits ``in_task()`` first.
"""

from __future__ import annotations

import asyncio
import types
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from headgate_gateway.later import HAD_ITS_TURN, Later, turn

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator
    from contextvars import Context

T = TypeVar("T")


@types.coroutine
def in_task() -> Generator[None, None, None]:
    """Continue as an asyncio.Task; inside a task this does nothing."""
    if turn.depth:
        yield None


async def outcome_of(result: Any) -> Any:  # noqa: ANN401 - anything that a handler may return
    """Return the value of a handler's result in a task, which can await it without a Step."""
    return await result if isinstance(result, Later | types.CoroutineType) else result


_RUNNING, _CANCELLED = 1, 2  # flags of a Step


class Step(Generic[T]):
    """A handler that runs without a task. `on_done` is called once, with its value or error.

    The caller of `run` keeps a reference to the step: the garbage collector would end an
    unreferenced one before its clean-up.
    """

    __slots__ = ("_awaited", "_context", "_coro", "_flags", "_handler", "_on_done", "task")

    def __init__(
        self,
        handler: Callable[[], T | Later[T] | Coroutine[Any, None, T]],
        on_done: Callable[[T | None, BaseException | None], object],
        context: Context | None = None,
    ) -> None:
        """Run the handler, and its task, in `context` if it is set, whichever code resumes it."""
        self._handler: Callable[[], T | Later[T] | Coroutine[Any, None, T]] | None = handler
        self._on_done: Callable[[T | None, BaseException | None], object] | None = on_done
        self._context = context
        self._coro: Coroutine[Any, None, T] | None = None  # if that is what the handler returned
        self._awaited: Any = None  # a Later; the step itself until its task has started
        self._flags = 0
        self.task: asyncio.Task[T] | None = None

    def done(self) -> bool:
        """Return whether the handler has ended."""
        return self._on_done is None

    def run(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Call the handler, and run it until it ends or has to wait.

        A caller that knows the running `loop` passes it, because Python 3.11 makes a system call
        to find it.
        """
        if not turn.depth and asyncio.current_task(loop) is not None:
            self._awaited = HAD_ITS_TURN  # a step never runs inside a task
            turn.add_last(self)
            return
        turn.depth += 1
        try:
            self._call()
        finally:
            turn.depth -= 1
        if turn.ready:
            turn.settle()

    def take_over(self, coro: Coroutine[Any, None, T], awaited: Any) -> None:  # noqa: ANN401 - as of _wait_for
        """Continue a coroutine that the running step has begun, once what it awaits is done.

        This is for a caller that has called the handler itself, instead of `run`.
        """
        self._handler, self._coro = None, coro
        self._wait_for(awaited)

    def resume(self, later: Later[Any], /) -> None:
        """Continue after the Later that the handler awaits, unless the step was cancelled."""
        if self._awaited is not later:
            return
        if self._flags & _CANCELLED:
            self._cancel_now()
        elif self._coro is not None:
            self._advance(self._coro)
        elif self._handler is not None:
            self._call()
        else:
            self._end_as(later)

    def cancel(self) -> None:
        """Raise CancelledError in the handler, where it waits or will wait next."""
        if self._on_done is None:
            return
        if self._flags & _RUNNING or self._awaited is self:
            self._flags |= _CANCELLED
        elif self.task is not None:
            self.task.cancel()
        elif self._awaited is not None:
            self._awaited.unsubscribe(self)
            if asyncio.current_task() is None:
                with turn:
                    self._cancel_now()
            else:
                self._flags |= _CANCELLED
                self._awaited = HAD_ITS_TURN
                turn.add_last(self)

    def _cancel_now(self) -> None:
        """Raise CancelledError where the handler waits."""
        self._flags &= ~_CANCELLED
        if self._coro is not None:
            self._advance(self._coro, cancels=True)
        else:  # it has not started, or returned a Later
            self._awaited = None
            self._end(None, asyncio.CancelledError())

    def _call(self) -> None:
        """Call the handler, and end, advance or suspend the step by what it returns."""
        handler, self._handler = self._handler, None
        assert handler is not None, "a handler is called once"
        result: Any = None
        error: BaseException | None = None
        self._flags |= _RUNNING
        try:
            result = handler() if self._context is None else self._context.run(handler)
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
        elif isinstance(result, types.CoroutineType):
            self._coro = result
            self._advance(result)
        elif not isinstance(result, Later):
            self._end(cast("T", result), None)
        elif result._done:
            self._end_as(result)
        elif self._flags & _CANCELLED:
            self._end(None, asyncio.CancelledError())
        else:
            self._awaited = result
            result.subscribe(self)

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
                if self._context is None:
                    awaited = coro.throw(asyncio.CancelledError()) if cancels else coro.send(None)
                elif cancels:
                    awaited = self._context.run(coro.throw, asyncio.CancelledError())
                else:
                    awaited = self._context.run(coro.send, None)
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
            if not self._flags & _CANCELLED or not isinstance(awaited, Later):
                self._wait_for(awaited)
                return
            self._flags &= ~_CANCELLED
            cancels = True
        # Outside the except clause: there, the error would become the context of errors in the next
        # request, and be logged with them.
        self._end(value, error)
        error = None  # breaks the reference cycle of its traceback and this frame

    def _wait_for(self, awaited: Any) -> None:  # noqa: ANN401 - a Later, or what asyncio waits for
        if isinstance(awaited, Later):
            self._awaited = awaited
            awaited.subscribe(self)
            return
        # The rest runs in a task, which awaits the same first.
        self._awaited = self
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(self._rest(awaited), context=self._context)
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        self.task = None  # breaks the reference cycle of its error and this step
        if task.cancelled():
            self._end(None, asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self._end(None, error)
        else:
            self._end(task.result(), None)

    def _end(self, value: T | None, error: BaseException | None) -> None:
        on_done, self._on_done = self._on_done, None
        assert on_done is not None, "a step ends once"
        try:
            on_done(value, error)
        except Exception as failure:  # noqa: BLE001 - the code that set a Later must not get it
            asyncio.get_running_loop().call_exception_handler(
                {"message": "on_done of a step", "exception": failure}
            )

    async def _rest(self, awaited: Any) -> T:  # noqa: ANN401 - as of _wait_for
        return await self._resumed(awaited)

    @types.coroutine
    def _resumed(self, awaited: Any) -> Generator[Any, Any, T]:  # noqa: ANN401 - as of _wait_for
        self._awaited = None
        coro, thrown = self._coro, None
        assert coro is not None, "only a coroutine awaits"
        if self._flags & _CANCELLED:  # before the task started
            self._flags &= ~_CANCELLED
            assert self.task is not None, "it runs this"
            self.task.cancel()  # cancels what is awaited, too
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
