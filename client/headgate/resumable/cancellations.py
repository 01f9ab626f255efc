"""Cancellations that a library below takes for its own are raised all the same.

redis-py sends by `asyncio.wait_for`, which before Python 3.12 gives a result rather than raise when
both come at once. Whoever cancelled would wait for ever: an `asyncio.timeout` cancels only once.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextlib.contextmanager
def raised_cancellations() -> Iterator[None]:
    """Raise at the end of the block a cancellation of this task that came within it."""
    task = asyncio.current_task()
    before = 0 if task is None else task.cancelling()
    try:
        yield
    finally:
        if task is not None and task.cancelling() > before:
            raise asyncio.CancelledError
