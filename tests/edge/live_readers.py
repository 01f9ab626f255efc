"""A gateway before an origin with one stream, its live readers, and what they are told."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from headgate_gateway.protocol.streams.offsets import current_cursor
from tests.support.live_origin import LiveOrigin
from tests.support.raw_origin import Steps, reset
from tests.support.serving import EDGE, Serving, edge_serving, get
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from tests.support.event_stream import Event
    from tests.support.http1 import Answer, Client

S = f"{EDGE}/s"
# What makes a poll's URL one that is asked for once, on the gateway's clock, for an hour to come.
NEXT_KEY = f"cursor={current_cursor(1_800_000_000) + 180}"


@asynccontextmanager
async def live(
    *pieces: bytes, content_type: str = "text/plain", **options: object
) -> AsyncIterator[tuple[LiveOrigin, Serving]]:
    """An origin with these pieces, and a gateway before it."""
    async with (
        LiveOrigin(*pieces, content_type=content_type) as origin,
        edge_serving(origin, None, **options) as gateway,
    ):
        yield origin, gateway


def at(offset: str, mode: str = "long-poll", *more: str) -> str:
    return "&".join([f"{S}?offset={offset}&live={mode}", *more])


async def polling(gateway: Serving, offset: str, *lines: str) -> Client:
    """A reader whose long-poll waits in the gateway."""
    before = gateway.limits.live_readers
    client = await gateway.connect()
    client.send(get(at(offset), *lines))
    await until(lambda: gateway.limits.live_readers == before + 1)
    return client


async def held_up(
    origin: LiveOrigin, gateway: Serving, target: str, answer: bytes
) -> tuple[Client, Steps]:
    """A reader whose request has come to the origin, which answers this when it is let."""
    late = origin.instead = Steps(b"", answer)
    client = await gateway.connect()
    client.send(get(target))
    await until(lambda: late.sent == 1)
    origin.instead = None
    return client, late


async def following(gateway: Serving, offset: str, *lines: str) -> Client:
    """A reader of events whose answer has begun."""
    client = await gateway.connect()
    client.send(get(at(offset, "sse"), *lines))
    head = await client.answer()
    assert (head.status, head.get("Content-Type")) == (200, "text/event-stream")
    return client


async def caught_up(origin: LiveOrigin, gateway: Serving) -> Client:
    """Return a reader by SSE at the end of the stream, while the feed waits there."""
    viewer = await following(gateway, "-1")
    assert await up_to(viewer, "0003") == "abc"
    await origin.polled(1)
    return viewer


async def restored(origin: LiveOrigin, *pieces: bytes) -> None:
    """Cut the feed's poll, and let the origin come back with these pieces."""
    origin.answer_all(reset)
    await until(lambda: origin.waiting == 0)
    origin.pieces = list(pieces)
    origin.instead = None


def was_away(gateway: Serving) -> None:
    """Let the gateway take it that its origin refused connections for a moment."""
    (server,) = gateway.edge.origin.servers
    server.failed("refuses connections")
    server.recovered()


@asynccontextmanager
async def _read_live(
    begin: Callable[[Serving, str], Awaitable[Client]], *pieces: bytes, **options: object
) -> AsyncIterator[tuple[LiveOrigin, Serving, Client]]:
    """Such an origin and gateway, and a reader that waits at the tail as the feed does."""
    async with live(*pieces, **options) as (origin, gateway):  # type: ignore[arg-type] # as it takes
        reader = await begin(gateway, f"{len(pieces):04}")
        await origin.polled(1)
        yield origin, gateway, reader


waiting = partial(_read_live, polling)  # whose reader is a long-poll
viewed = partial(_read_live, following)  # whose reader gets events


@asynccontextmanager
async def confirmed_at_tail(*pieces: bytes) -> AsyncIterator[tuple[LiveOrigin, Serving]]:
    """Such an origin and gateway, whose feed knows the tail itself."""
    async with waiting(*pieces) as (origin, gateway, _):
        await confirmed(gateway, f"{len(pieces):04}")
        yield origin, gateway


def told(offset: str, **what: object) -> Callable[[list[Event]], bool]:
    """Whether the last event is a control event that says so."""
    wanted = {"streamNextOffset": offset, **what}
    return lambda events: (
        bool(events)
        and events[-1].name == "control"
        and json.loads(events[-1].data).items() >= wanted.items()
    )


async def up_to(client: Client, offset: str) -> str:
    """All the text that came until the reader was told that it is at the tail, at this offset."""
    return text(await client.events_until(told(offset, upToDate=True)))


def text(events: list[Event]) -> str:
    return "".join(event.data for event in events if event.name == "data")


def news(got: Answer) -> tuple[int, bytes, str | None, str | None]:
    return got.status, got.body, got.get("Stream-Next-Offset"), got.get("Stream-Up-To-Date")


async def confirmed(gateway: Serving, tail: str = "0001", *lines: str) -> None:
    """Let the feed itself know the tail: then the origin is not asked for it.

    It counts at once that the origin holds the polls, not after a second.
    """
    at_tail = get(f"{S}?offset={tail}", *lines)

    async def is_known() -> bool:
        gateway.clock.advance(2)
        for stream in gateway.edge.feeds.table:
            if stream.polls is not None and stream.polls._hold is not None:
                stream.polls._on_hold()
        return (await gateway.ask(at_tail)).get("X-Cache") == "COLLAPSED"

    await until(is_known, f"the feed to know {tail}")
