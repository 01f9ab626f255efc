"""Two gateways in processes of their own before one Redis, and requests to them."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from tests.models.accumulators import chat_message, data_of
from tests.models.answers import ID_LINE, chat_completion
from tests.models.provider import providing
from tests.models.serving import OPENAI, gateway_before
from tests.support.holding_relay import HoldingRelay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from contextlib import AbstractContextManager

    import aiohttp

    from tests.models.provider import Provider
    from tests.models.serving import Serving
    from tests.support.processes import Headgate

CHAT = f"{OPENAI}/v1/chat/completions"
RESPONSES = f"{OPENAI}/v1/responses"
T = TypeVar("T")
KEY = {"Authorization": "Bearer sk-mine"}
# Until another gateway has ended the answers of one that has stopped, and then some.
MOST_S = 20.0


@contextlib.contextmanager
def two_gateways(
    provider: Serving,
    origin: str,
    settings: Mapping[str, object] | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[Headgate, Headgate]]:
    """Start two gateways with the same model routes."""
    with (
        gateway_before(provider, None, settings, environment, origin=origin) as one,
        gateway_before(provider, None, settings, environment, origin=origin) as other,
    ):
        yield one, other


@contextlib.asynccontextmanager
async def held_gateways(
    origin: str, of_other: str | None = None
) -> AsyncIterator[tuple[Provider, Headgate, Headgate]]:
    """Start two gateways, whose provider gives three events and holds the rest of an answer.

    The second one has the log at `of_other`, if that is given.
    """
    async with providing() as provider:
        provider.hold()
        provider.allow(3)
        async with (
            in_thread(gateway_before(provider, origin=origin)) as one,
            in_thread(gateway_before(provider, origin=of_other or origin)) as other,
        ):
            yield provider, one, other


@contextlib.asynccontextmanager
async def in_thread(made: AbstractContextManager[T]) -> AsyncIterator[T]:
    """Enter and leave a context in a thread, so that what this loop serves goes on meanwhile."""
    entered = await asyncio.to_thread(made.__enter__)
    try:
        yield entered
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


@contextlib.asynccontextmanager
async def held_ends(origin: str) -> AsyncIterator[tuple[HoldingRelay, str]]:
    """A relay before a Redis that holds the ends in records, and the URL of the log behind it."""
    async with HoldingRelay(port_of(origin), b'"entry":"end"') as relay:
        yield relay, relayed(origin, relay)


@contextlib.asynccontextmanager
async def held_after(origin: str, words: bytes) -> AsyncIterator[tuple[HoldingRelay, str]]:
    """A relay before a Redis that holds all after `words`, and the URL of the log behind it.

    A gateway that ends an answer by these words does not come to record that: it has no reply.
    """
    async with HoldingRelay(port_of(origin), words, passes_words=True) as relay:
        yield relay, relayed(origin, relay)


def port_of(origin: str) -> int:
    """Return the port in the URL of a log."""
    port = urlsplit(origin).port
    assert port is not None
    return port


def relayed(origin: str, relay: HoldingRelay) -> str:
    """Return the URL of a log with the port of a relay before it."""
    return origin.replace(f":{port_of(origin)}", f":{relay.port}")


def ask(
    http: aiohttp.ClientSession,
    gateway: Headgate,
    key: str = "one",
    path: str = CHAT,
    body: object = None,
    **fields: str,
) -> Any:
    """Send a request for an answer; `Last_Event_ID` is written with hyphens."""
    headers = {**KEY, **{name.replace("_", "-"): value for name, value in fields.items()}}
    if key:
        headers["Idempotency-Key"] = key
    asked = {"model": "m", "stream": True} if body is None else body
    return http.post(gateway.url + path, json=asked, headers=headers)


async def status(http: aiohttp.ClientSession, gateway: Headgate) -> tuple[int, bytes]:
    """Return the status and the body of the response to a request for an answer."""
    async with ask(http, gateway) as answer:
        return answer.status, await answer.read()


async def events_from(answer: aiohttp.ClientResponse, number: int) -> bytes:
    """Return the body of the first response with an answer up to so many events."""
    body = b""
    while len(ID_LINE.findall(body)) < number:
        body += await answer.content.readany()
    return body


async def read_to(answer: aiohttp.ClientResponse, begun: bytes) -> bytes:
    """Return the body of a response up to the last event of `begun`; deltas may be joined."""
    last, body = ID_LINE.findall(begun)[-1], b""
    while last not in ID_LINE.findall(body):
        body += await answer.content.readany()
    return body


def message(body: bytes) -> tuple[Any, str | None]:
    """Return what the SDK makes of a body, and the code of the error with which it ends."""
    chunks, code = [], None
    for chunk in data_of(body):
        if "error" in chunk:
            code = chunk["error"]["code"]
        else:
            chunks.append(chunk)
    return chat_message(chunks), code


EVENTS = chat_completion()
WHOLE = b"".join(EVENTS)
MESSAGE = message(WHOLE)  # of the whole answer
BEGUN, _ = message(b"".join(EVENTS[:3]))  # of its first three events
STOPPED = "gateway_stopped"
