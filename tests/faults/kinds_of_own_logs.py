"""Requests for streams of own logs of every kind, and what must hold of a stream after them."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from tests.faults.kinds import Kind, followed, followed_on, nothing, whole
from tests.support.serving import PREFIX, get, offset, post, put, request

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.http1 import Answer, Client
    from tests.support.serving import Serving

    RedisConnection = Callable[[str], bytes]

JSON = "application/json"
LONG = b"[" + b",".join(b"%06d" % number for number in range(6000)) + b"]"  # taken in two slices
STAMP = ("Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0")
ORDINARY = "X-Request-Id:a"  # with a wish nothing goes the fast way


async def made(gateway: Serving, name: str) -> None:
    """There is a stream."""
    await gateway.ask(put(name, body=b"data"))


async def made_of_json(gateway: Serving, name: str) -> None:
    """There is a stream of messages."""
    await gateway.ask(put(name, body=b'["data"]', content_type=JSON))


async def forked(gateway: Serving, name: str) -> None:
    """There is a stream, and a fork of it."""
    await made(gateway, f"{name}-source")
    await gateway.ask(put(name, f"Stream-Forked-From: {PREFIX}/{name}-source"))


async def created_before(gateway: Serving, name: str) -> None:
    """Creations with the same fields have a plan."""
    for _ in range(2):  # the second time their fields are known
        await gateway.ask(put(f"{name}-before", body=b"data"))


async def goes_on(
    gateway: Serving, name: str, told: Answer | None, wanted: bytes = b"", content_type: str = ""
) -> str:
    """The stream takes the next append, and has what was wanted if its writer was told so."""
    end = b'["!"]' if content_type else b"!"
    more = await gateway.ask(post(name, end, content_type=content_type or "text/plain"))
    if more.status not in {204, 404, 409}:  # it may not be there, or be closed
        return f"then {more.status} for an append"
    read = await gateway.ask(get(f"{name}?offset=-1"))
    if read.status not in {200, 404}:
        return f"then {read.status} for a read"
    if wanted and told is not None and told.status < 300 and read.body.count(wanted) != 1:
        return f"what was acknowledged is there {read.body.count(wanted)} times"
    if wanted and told is not None and 400 <= told.status < 500 and wanted in read.body:
        return "what was refused is there"
    if more.status == 204 and not read.body.endswith(end[-2:]):
        return "the next append cannot be read"
    return ""


async def comes_once(gateway: Serving, name: str, told: Answer | None) -> str:
    """A producer that repeats its append is told that it is there, and it is there once."""
    again = await gateway.ask(post(name, b"more", *STAMP))
    if again.status not in {200, 204}:
        return f"then {again.status} for the same append"
    return await goes_on(gateway, name, told, b"more")


def own(wire: RedisConnection, wanted: bytes = b"", *, content_type: str = "") -> Kind:
    """A request for a stream that is there."""

    async def ask(_: Serving, client: Client, name: str) -> Answer:
        return await whole(client, wire(name))

    then = partial(goes_on, wanted=wanted, content_type=content_type)
    return Kind(made_of_json if content_type else made, ask, then)


async def asked_again(_: Serving, client: Client, name: str) -> Answer:
    """With the tag of the answer before."""
    before = await whole(client, get(f"{name}?offset=-1"))
    return await whole(client, get(f"{name}?offset=-1", f"If-None-Match: {before.get('etag')}"))


async def in_parts(_: Serving, client: Client, name: str) -> Answer:
    """An append whose length nobody knows before."""
    head = post(name, b"", "Transfer-Encoding: chunked").replace(b"Content-Length: 0\r\n", b"")
    client.send(head + b"2\r\nmo\r\n")
    await asyncio.sleep(0.005)  # a packet of its own, and late, is what is tested
    if client.is_closing:
        raise ConnectionResetError("it has left meanwhile")
    client.send(b"2\r\nre\r\n0\r\n\r\n")
    return await client.answer()


async def together(_: Serving, client: Client, name: str) -> Answer:
    """Appends that come in one packet, and are one commit."""
    wires = [post(name, b"less"), post(name, b"more")]
    client.send(b"".join(wires))
    await client.answer()
    return await client.answer()


async def created_together(_: Serving, client: Client, name: str) -> Answer:
    """Creations that come in one packet, and are one commit."""
    wires = [put(f"{name}-other", body=b"less"), put(name, body=b"more")]
    client.send(b"".join(wires))
    await client.answer()
    return await client.answer()


async def done_elsewhere(gateway: Serving, wire: bytes) -> bool:
    """A write of another client; whether it came to something."""
    other = await gateway.connect()
    try:
        return (await other.ask(wire)).status < 300
    finally:
        other.close()


def poll(*lines: str, news: bool) -> Kind:
    """A long-poll at the tail that ends with news or without them."""

    async def ask(gateway: Serving, client: Client, name: str) -> Answer:
        client.send(get(f"{name}?offset={offset(4)}&live=long-poll", *lines))
        await asyncio.sleep(0.01)
        if news:
            await done_elsewhere(gateway, post(name, b"news"))
        return await client.answer()

    return Kind(made, ask, goes_on)


async def behind(gateway: Serving, client: Client, name: str) -> Answer:
    """A long-poll for what is there, before a stream that is followed."""
    other = await gateway.connect()
    other.send(get(f"{name}?offset={offset(4)}&live=long-poll"))
    try:
        return await whole(client, get(f"{name}?offset=-1&live=long-poll"))
    finally:
        other.close()


async def events(gateway: Serving, client: Client, name: str) -> Answer:
    """What is there, and what comes."""
    client.send(get(f"{name}?offset=-1&live=sse"))
    told = await followed(client, b"data")
    if told.status == 200 and await done_elsewhere(gateway, post(name, b"news")):
        await followed_on(client, b"news")
    return told


async def events_to_the_end(gateway: Serving, client: Client, name: str) -> Answer:
    """Until the stream is closed."""
    client.send(get(f"{name}?offset={offset(4)}&live=sse"))
    told = await followed(client)
    closes = post(name, b"", "Stream-Closed: true")
    if told.status == 200 and await done_elsewhere(gateway, closes):
        await followed_on(client, b"streamClosed")
    return told


def at_tail(name: str) -> bytes:
    """A read of nothing."""
    return get(f"{name}?offset={offset(4)}")


OF_OWN_LOGS = {
    "an own read": own(lambda name: get(f"{name}?offset=-1")),
    "an own read at the tail": own(at_tail),
    "an own read that was asked for before": Kind(made, asked_again, goes_on),
    "an own head": own(lambda name: request("HEAD", name)),
    "an own append": own(lambda name: post(name, b"more"), b"more"),
    "an own append, the ordinary way": own(lambda name: post(name, b"more", ORDINARY), b"more"),
    "an own append in parts": Kind(made, in_parts, partial(goes_on, wanted=b"more")),
    "own appends together": Kind(made, together, partial(goes_on, wanted=b"more")),
    "an own append of JSON": own(
        lambda name: post(name, b'["more"]', content_type=JSON), b"more", content_type=JSON
    ),
    "an own append of long JSON": own(
        lambda name: post(name, LONG, content_type=JSON), b"005999", content_type=JSON
    ),
    "an own append of a producer": own(lambda name: post(name, b"more", *STAMP))._replace(
        then=comes_once
    ),
    "an own append that closes": own(
        lambda name: post(name, b"more", "Stream-Closed: true"), b"more"
    ),
    "an own creation": Kind(created_before, own(lambda name: put(name, body=b"more")).ask, goes_on),
    "own creations together": Kind(created_before, created_together, goes_on),
    "an own creation, the ordinary way": Kind(
        nothing, own(lambda name: put(name, ORDINARY, body=b"more")).ask, goes_on
    ),
    "a fork": own(lambda name: put(f"{name}-fork", f"Stream-Forked-From: {PREFIX}/{name}")),
    "a fork with more": own(
        lambda name: put(f"{name}-fork", f"Stream-Forked-From: {PREFIX}/{name}", body=b"more")
    ),
    "a removal from an own log": own(lambda name: request("DELETE", name)),
    "a removal of a fork": Kind(forked, own(lambda name: request("DELETE", name)).ask, goes_on),
    "an own long-poll": poll(news=True),
    "an own long-poll without news": poll(news=False),
    "an own long-poll, the ordinary way": poll(ORDINARY, news=True),
    "an own long-poll that is behind": Kind(made, behind, goes_on),
    "own SSE": Kind(made, events, goes_on),
    "own SSE to the end": Kind(made, events_to_the_end, goes_on),
}
