"""A thread for what an event loop cannot do itself, such as to look up the address of a host."""

from __future__ import annotations

import threading
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from typing_extensions import override

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


class HelperThread(ThreadPoolExecutor):
    """An executor of one thread, which also works while the interpreter exits.

    Python refuses to start threads then, and ends those of its own executors before: no run could
    be ended by a new connection.
    """

    def __init__(self) -> None:
        super().__init__(1)  # event loops take no other kind
        self._calls: SimpleQueue[Callable[[], None]] = SimpleQueue()
        threading.Thread(target=self._work, name="headgate.sync helper", daemon=True).start()

    @override
    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Call the function in the thread, behind those before it."""
        future: Future[T] = Future()
        self._calls.put(partial(settle, future, partial(fn, *args, **kwargs)))
        return future

    def _work(self) -> None:
        while True:
            self._calls.get()()


def settle(future: Future[T], call: Callable[[], T]) -> None:
    """Set the result or the exception of the call on the future."""
    if not future.set_running_or_notify_cancel():
        return
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 - whoever waits for the call is told
        future.set_exception(error)
    else:
        future.set_result(result)
