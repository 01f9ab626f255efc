"""Cases of SSE: when events are there, for whom, and what many readers cost."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from tests.cdn.edges import GRACE_S
from tests.cdn.findings import Fault, finding
from tests.cdn.live_cases import MOST_AT_ORIGIN
from tests.cdn.viewers import milliseconds
from tests.support.http1 import Client, request

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.cdn.edges import Edge
    from tests.cdn.findings import Finding

READERS = 100
TRIES = 3  # of which the best counts: what a CDN holds back, it holds back each time
EVENT_S = 0.1
NEVER_S = float("inf")


@contextlib.asynccontextmanager
async def reader(edge: Edge, target: str, **headers: str) -> AsyncIterator[Client]:
    """Somebody who has asked for events, of whose answer nothing is read yet."""
    client = await Client.connect(edge.port)
    try:
        client.send(request("GET", target, None, **headers))
        yield client
    finally:
        client.close()


async def until_event(client: Client, data: str, *, is_first: bool = False) -> float:
    """How long it takes until there is an event with this data, in seconds."""
    began = asyncio.get_running_loop().time()
    try:
        async with asyncio.timeout(GRACE_S):
            if is_first:
                await client.head()
            await client.events_until(lambda events: any(data in one.data for one in events))
    except TimeoutError:
        return NEVER_S
    return asyncio.get_running_loop().time() - began


async def events(edge: Edge) -> Finding:
    """The first event of a reader, and one that is appended while he is there."""
    tries = [await _first_and_live(edge)]
    while len(tries) < TRIES and NEVER_S not in tries[0]:
        tries.append(await _first_and_live(edge))
    first, live = (min(one) for one in zip(*tries, strict=True))
    is_held = max(first, live) > EVENT_S
    shown = "never" if max(first, live) == NEVER_S else f"{milliseconds([first, live])}"
    return finding(shown, {Fault.SSE_HELD_BACK: is_held})


async def _first_and_live(edge: Edge) -> tuple[float, float]:
    stream = edge.stream(b"before")
    async with reader(edge, f"{stream.path}?offset=-1&live=sse") as client:
        first = await until_event(client, "before", is_first=True)
        if first == NEVER_S:
            return first, first
        stream.append(b"news")
        return first, await until_event(client, "news")


async def many_event_readers(edge: Edge) -> Finding:
    """Readers who come at the same time, and what they cost the origin."""
    stream = edge.stream(b"before")
    target = f"{stream.path}?offset=-1&live=sse"
    before = edge.origin.asked().sse
    async with contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(reader(edge, target)) for _ in range(READERS)]
        first = [until_event(one, "before", is_first=True) for one in readers]
        took = await asyncio.gather(*first)
        if max(took) < NEVER_S:
            stream.append(b"news")
            took = await asyncio.gather(*(until_event(one, "news") for one in readers))
    asked = edge.origin.asked().sse - before
    return finding(
        f"{READERS} → {asked}, " + ("never" if max(took) == NEVER_S else milliseconds(took)),
        {Fault.SSE_HELD_BACK: max(took) == NEVER_S, Fault.NO_SSE_COLLAPSE: asked > MOST_AT_ORIGIN},
    )


async def event_reader_resumes(edge: Edge) -> Finding:
    """A browser that comes back asks the same URL; its `Last-Event-ID` says where it was."""
    stream = edge.stream(b"before")
    tail = stream.append(b"seen")
    target = f"{stream.path}?offset=-1&live=sse"
    async with reader(edge, target) as new, reader(edge, target, Last_Event_ID=tail) as back:
        await until_event(new, "seen", is_first=True)
        await back.head()
        stream.append(b"news")
        await until_event(back, "news")
        is_mixed = b"seen" in back.received or b"news" not in back.received
    return finding("mixed" if is_mixed else "apart", {Fault.SSE_MIXED: is_mixed})
