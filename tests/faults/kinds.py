"""What a kind of request is."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from tests.support.serving import PREFIX, get

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.http1 import Answer, Client
    from tests.support.serving import Serving


async def nothing(gateway: Serving, name: str) -> None:
    """Nobody has asked before."""


async def as_ever(gateway: Serving, name: str, told: Answer | None) -> str:
    """Another stream is served; what is wrong with that, if anything is."""
    after = await gateway.ask(get(f"{PREFIX}/next?offset=-1"))
    return "" if after.status == 200 else f"then {after.status} for another stream"


class Kind(NamedTuple):
    """A kind of request: what is done before it, the request to its answer's end, what then holds.

    The answer is that of the request, and `then` says what is wrong after it. `word` is in the
    names of what is asked for.
    """

    before: Callable[[Serving, str], Awaitable[None]]
    ask: Callable[[Serving, Client, str], Awaitable[Answer]]
    then: Callable[[Serving, str, Answer | None], Awaitable[str]] = as_ever
    word: str = "some"


async def whole(client: Client, wire: bytes) -> Answer:
    """Ask, and read the answer."""
    told = await client.ask(wire)
    if told.get("transfer-encoding") is not None:
        await client.chunks()
    return told


async def followed(client: Client, *news: bytes) -> Answer:
    """Read an SSE answer until all of these have come, or to its end."""
    told = await client.answer()
    if told.status == 200:
        await followed_on(client, *news)
    return told


async def followed_on(client: Client, *news: bytes) -> None:
    """The same of an answer that has begun."""
    received = b""
    while not all(one in received for one in news):
        chunk = await client.chunk()
        if not chunk:
            return  # its reader comes back with the offset
        received += chunk
