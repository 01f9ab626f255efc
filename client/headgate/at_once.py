"""A request for each of many ids, of which only some run at the same time."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

_T = TypeVar("_T")
_T_co = TypeVar("_T_co", covariant=True)

# Each has up to four requests, one after the other, and a connection: a list of chats is a page of
# them, and others use the server, too.
MOST_AT_ONCE = 16
MOST_WAITING = 256  # of those that wait for seconds, and ask once in each


class InDoubt(Exception):
    """Raised if a result needs a second look some seconds later."""


class MayWait(Protocol[_T_co]):
    """Look up something by its name, which may take seconds of waiting."""

    async def __call__(self, name: str, /, *, waits: bool) -> _T_co:
        """Return what was found; raise InDoubt instead of waiting, unless it `waits`."""
        ...


async def patiently(names: Iterable[str], ask: MayWait[_T]) -> dict[str, _T]:
    """Return what `ask` gives for each name.

    Names in doubt are asked again, all at the same time, so the waits add up to one.
    """
    names_in_doubt: list[str] = []

    async def ask_first(name: str) -> _T | None:
        try:
            return await ask(name, waits=False)
        except InDoubt:
            names_in_doubt.append(name)
            return None

    first = await at_once(names, ask_first)
    rest = await at_once(names_in_doubt, partial(ask, waits=True), most=MOST_WAITING)
    return {**first, **rest}  # type: ignore[dict-item]  # None is for those that are in the rest


async def at_once(
    names: Iterable[str], ask: Callable[[str], Awaitable[_T]], most: int = MOST_AT_ONCE
) -> dict[str, _T]:
    """Return what `ask` gives for each name, in their order; the first error ends all."""
    unique = list(dict.fromkeys(names))
    found: dict[str, _T] = {}
    rest = iter(unique)

    async def ask_on() -> None:
        for name in rest:
            found[name] = await ask(name)

    asking = [asyncio.create_task(ask_on()) for _ in range(min(most, len(unique)))]
    try:
        await asyncio.gather(*asking)
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return {name: found[name] for name in unique}
