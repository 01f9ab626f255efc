"""Waiting for what is to become so; whoever waits in vain says for what, and for how long."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_AGAIN_S = 0.002


async def until(condition: Callable[[], bool], timeout_s: float, what: str = "") -> None:
    """Look at a condition again and again; without `what`, its source tells what was waited for."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not condition():
        waited = loop.time() - began
        if waited > timeout_s:
            raise AssertionError(f"waited {waited:.1f} s in vain for {what or _source(condition)}")
        await asyncio.sleep(LOOK_AGAIN_S)


def _source(condition: Callable[[], bool]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # a bound method of C, a partial
        return repr(condition)
