"""Waiting for work that goes on when its waiter is cancelled."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable

T = TypeVar("T")


def shielded(awaitable: Awaitable[T]) -> asyncio.Future[T]:
    """Return what to await in place of work that a cancellation must not end.

    It does what `asyncio.shield` did before Python 3.14. Since then, that one logs an exception of
    the work as an error once its waiter is cancelled, although others get that exception.
    """
    work = asyncio.ensure_future(awaitable)
    if work.done():
        return work
    waiter = work.get_loop().create_future()

    def pass_on(done: asyncio.Future[T]) -> None:
        if waiter.done():
            return
        if done.cancelled():
            waiter.cancel()
        elif (error := done.exception()) is not None:
            waiter.set_exception(error)
        else:
            waiter.set_result(done.result())

    work.add_done_callback(pass_on)
    waiter.add_done_callback(lambda _: work.remove_done_callback(pass_on))
    return waiter
