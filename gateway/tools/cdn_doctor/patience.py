"""Wait for a reply that should come at once, on a line or a machine that may be slow itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from typing import Any

    from gateway.tools.cdn_doctor.streams import OwnStream

T = TypeVar("T")


async def given_time(work: Coroutine[Any, Any, T], own: OwnStream, within_s: float) -> T:
    """Return the result of `work`, also after `within_s` if the line is slow.

    At the time limit a read of the stream is sent. Raises TimeoutError if its reply comes before
    the result: then the line is fast enough, and only `work` is late.
    """
    task = asyncio.create_task(work)
    try:
        await asyncio.wait([task], timeout=within_s)
        if not task.done():
            await own.read({"offset": own.start})
        if not task.done():
            raise TimeoutError
        return task.result()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
