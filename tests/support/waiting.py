"""Waiting for what is to become so; whoever waits in vain says for what, and for how long."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import TYPE_CHECKING

import redis

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

# At first, and at last where it takes long: what is looked at is often asked of a server, and
# whoever asks all the time keeps a core busy. The first pauses are the shortest.
LOOK_AGAIN_S, LOOK_SELDOM_S = 0.002, 0.02
ASK_AGAIN_S, ASK_SELDOM_S = 0.01, 0.1
SHARE_OF_WAIT = 0.1  # by which a wait may be longer than it need be
PATIENCE_S = 15.0  # for what happens at once on an idle machine
SERVER_PATIENCE_S = 45.0  # for what other processes do; a test may take 60
UNREACHABLE = (OSError, redis.ConnectionError, redis.TimeoutError)


async def until(
    condition: Callable[[], bool | Awaitable[bool]], what: str = "", *, within_s: float = PATIENCE_S
) -> None:
    """Look at a condition again and again; without `what`, its source tells what was waited for."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not (is_so if isinstance(is_so := condition(), bool) else await is_so):
        waited = loop.time() - began
        if waited > within_s:
            raise AssertionError(_in_vain(waited, what or _source(condition)))
        await asyncio.sleep(_pause(waited, LOOK_AGAIN_S, LOOK_SELDOM_S))


async def at_rest(value: Callable[[], int], for_s: float = 0.2) -> int:
    """What a number is once it has stayed the same for so long."""
    before = None
    while before != (now := value()):
        before = now
        await asyncio.sleep(for_s)
    return now


def wait_until(
    condition: Callable[[], bool],
    what: str = "",
    told: Callable[[], str] = str,
    *,
    within_s: float = SERVER_PATIENCE_S,
) -> None:
    """Look at a condition again and again, without a loop; what is `told` is in the error.

    A server that cannot be asked yet does not meet a condition yet.
    """
    began, trouble = time.monotonic(), None
    while True:
        try:
            if condition():
                return
        except UNREACHABLE as error:
            trouble = error
        waited = time.monotonic() - began
        if waited > within_s:
            said = f"{_in_vain(waited, what or _source(condition))}\n{told()}"
            raise AssertionError(said.strip()) from trouble
        time.sleep(_pause(waited, ASK_AGAIN_S, ASK_SELDOM_S))


def _pause(waited_s: float, shortest_s: float, longest_s: float) -> float:
    return min(max(shortest_s, waited_s * SHARE_OF_WAIT), longest_s)


def _in_vain(waited_s: float, what: str) -> str:
    return f"waited {waited_s:.1f} s in vain: {what}"


def _source(condition: Callable[[], object]) -> str:
    try:
        return inspect.getsource(condition).strip()
    except (OSError, TypeError):  # a bound method of C, a partial
        return repr(condition)
