"""Requests before an HTTP origin of every kind, and the origin that answers them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.faults.kinds import Kind, followed, nothing, whole
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, get, request

if TYPE_CHECKING:
    from tests.support.http1 import Answer, Client
    from tests.support.raw_origin import Wire
    from tests.support.serving import Serving

TOLD_TAIL = ("Stream-Next-Offset: 0001", "Stream-Up-To-Date: true", "Content-Type: text/plain")
TOLD_NEWS = ("Stream-Next-Offset: 0002", "Stream-Up-To-Date: true", "Content-Type: text/plain")
CONDITION = 'If-None-Match: "a"'
ENDLESS = b"without a length"  # where its connection ends, it does


class Origin(RawOrigin):
    """Answers by the name of what is asked; `busy` with so many requests."""

    def __init__(self) -> None:
        super().__init__(self._play)
        self.busy = 0

    async def _play(self, wire: Wire) -> None:
        self.busy += 1
        try:
            await self._answer(wire, self.heard[-1].line, self.heard[-1].head.lower())
        except asyncio.IncompleteReadError:
            await wire.close()
        finally:
            self.busy -= 1

    async def _answer(self, wire: Wire, line: str, head: bytes) -> None:
        await wire.body()
        if "live=long-poll" in line:
            await asyncio.sleep(0.01)  # as long-polls do
            await wire.send(answer(b"news" if "0001" in line else b"", *TOLD_NEWS))
        elif "offset=" in line:
            await wire.send(answer(b"", *(TOLD_NEWS if "0002" in line else TOLD_TAIL)))
        elif "slow" in line:
            await wire.send(
                b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nContent-Length: 8\r\n\r\n"
            )
            await wire.send(b"slow")
            await asyncio.sleep(0.06)  # longer than others wait for the whole
            await wire.send(b"slow")
        elif "endless" in line:
            await wire.send(b"HTTP/1.1 200 OK\r\nCache-Control: max-age=60\r\n\r\n" + ENDLESS[:4])
            await asyncio.sleep(0.01)  # packets of their own, which the parser takes one by one
            await wire.send(ENDLESS[4:])
            await asyncio.sleep(0.01)
            await wire.close()
        elif "pieces" in line:
            await wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\npie")
            await asyncio.sleep(0)
            await wire.send(b"ce\r\n0\r\n\r\n")
        elif b"if-none-match" in head:
            await wire.send(answer(b"", 'ETag: "a"', "Cache-Control: max-age=60", status="304 OK"))
        elif "kept" in line:
            await wire.send(answer(b"kept", 'ETag: "a"', "Cache-Control: max-age=60"))
        else:
            body = b"" if line.startswith("HEAD") else b"data"
            await wire.send(answer(body, "Cache-Control: no-store"))


def edge(method: str, *lines: str, body: bytes = b"", query: str = "") -> Kind:
    """Nothing but a request before the origin."""

    async def ask(_: Serving, client: Client, name: str) -> Answer:
        return await whole(client, request(method, f"{EDGE}/{name}{query}", *lines, body=body))

    return Kind(nothing, ask)


async def kept(gateway: Serving, name: str) -> None:
    """Somebody has read it."""
    await gateway.ask(get(f"{EDGE}/{name}"))


async def kept_and_old(gateway: Serving, name: str) -> None:
    """Somebody has read it long ago."""
    await kept(gateway, name)
    gateway.clock.advance(61)


async def read_to_the_end(_: Serving, client: Client, name: str) -> Answer:
    """Ask for what has no length, and keep what came of it."""
    client.send(get(f"{EDGE}/{name}"))
    told = await client.head()
    return await client.whole(told)


async def is_whole(gateway: Serving, name: str, told: Answer | None) -> str:
    """Whoever is given the answer to its end has all of it, and so has who asks next."""
    if told is not None and told.status == 200 and told.body != ENDLESS:
        return f"{told.body!r} passed for the whole"
    client = await gateway.connect()
    after = await read_to_the_end(gateway, client, name)
    client.close()
    return "" if after.body == ENDLESS else f"then {after.status} with {after.body!r}"


async def sse_at_origin(_: Serving, client: Client, name: str) -> Answer:
    """Until the news are there."""
    client.send(get(f"{EDGE}/{name}?offset=0001&live=sse"))
    return await followed(client, b"news")


async def two_polls(_: Serving, client: Client, name: str) -> Answer:
    """The second one finds the stream followed, and waits without a task."""
    await whole(client, get(f"{EDGE}/{name}?offset=0001&live=long-poll"))
    return await whole(client, get(f"{EDGE}/{name}?offset=0002&live=long-poll"))


async def streamed(_: Serving, client: Client, name: str) -> Answer:
    """An upload whose length nobody knows before."""
    head = request("POST", f"{EDGE}/{name}", "Transfer-Encoding: chunked")
    client.send(head.replace(b"Content-Length: 0\r\n", b"") + b"3\r\nabc\r\n")
    await asyncio.sleep(0.005)  # a packet of its own, and late, is what is tested
    if client.is_closing:
        raise ConnectionResetError("it has left meanwhile")
    client.send(b"3\r\ndef\r\n0\r\n\r\n")
    return await client.answer()


BEFORE_AN_ORIGIN = {
    "a read": edge("GET"),
    "a read of somebody": edge("GET", "Cookie: a"),
    "a read that is slow": Kind(nothing, edge("GET").ask, word="slow"),
    "a read that comes in chunks": Kind(nothing, edge("GET").ask, word="pieces"),
    "a read that ends with its connection": Kind(
        nothing, read_to_the_end, is_whole, word="endless"
    ),
    "a read that is kept": Kind(kept, edge("GET").ask, word="kept"),
    "a read that is kept and was asked for before": Kind(
        kept, edge("GET", CONDITION).ask, word="kept"
    ),
    "a read that is validated": Kind(kept_and_old, edge("GET").ask, word="kept"),
    "a head": edge("HEAD"),
    "a long-poll": Kind(nothing, two_polls),
    "SSE": Kind(nothing, sse_at_origin),
    "a creation": edge("PUT", "Location: x", body=b"made"),
    "an append": edge("POST", body=b"more"),
    "a streamed append": Kind(nothing, streamed),
    "a removal": edge("DELETE"),
}
