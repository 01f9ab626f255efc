"""A request for each of many ids, of which only some run at the same time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_T = TypeVar("_T")

# Each has up to four requests, one after the other, and a connection: a list of chats is a page of
# them, and others use the server, too.
MOST_AT_ONCE = 16


async def at_once(names: Iterable[str], ask: Callable[[str], Awaitable[_T]]) -> dict[str, _T]:
    """Return what `ask` gives for each name, in their order; the first error ends all."""
    unique = list(dict.fromkeys(names))
    found: dict[str, _T] = {}
    rest = iter(unique)

    async def ask_on() -> None:
        for name in rest:
            found[name] = await ask(name)

    asking = [asyncio.create_task(ask_on()) for _ in range(min(MOST_AT_ONCE, len(unique)))]
    try:
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return {name: found[name] for name in unique}
