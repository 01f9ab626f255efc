"""The operations of the JSON API that send events: the overview and streams as they change."""

from __future__ import annotations

from contextlib import aclosing
from typing import TYPE_CHECKING

import msgspec
from aiohttp import web

from headgate.events import written
from headgate_admin.console import Console
from headgate_admin.errors import ConsoleError, problem_document
from headgate_admin.events import LISTENERS, ticks
from headgate_admin.model.kinds import OfSpan
from headgate_admin.model.overview import Overview
from headgate_admin.model.streams import Messages, OfTail
from headgate_admin.operation import operation

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from headgate_admin.model.kinds import Span
    from headgate_admin.model.streams import OfStream


@operation("GET", "/api/v1/overview/events", events=Overview)
async def overview_events(
    request: web.Request, console: Console, query: OfSpan
) -> web.StreamResponse:
    """Serve the overview, again each two seconds."""
    return await request.app[LISTENERS].serve(request, overviews(console, query.span))


@operation("GET", "/api/v1/stream/events", events=Messages)
async def stream_events(
    request: web.Request, console: Console, query: OfTail
) -> web.StreamResponse:
    """Serve messages of a stream as they come, from the last one that the client has."""
    offset = request.headers.get("Last-Event-ID") or query.offset
    return await request.app[LISTENERS].serve(request, tail(console, query, offset))


async def overviews(console: Console, span: Span) -> AsyncGenerator[bytes]:
    """Yield the overview as events."""
    async for _ in ticks():
        yield written(await console.overviews.as_json(span))


async def tail(console: Console, stream: OfStream, offset: str) -> AsyncGenerator[bytes]:
    """Yield a stream's messages as events, their ids the offsets after them; the last is `closed`.

    Failures are events called `problem`, since the head of the response is sent by then.
    """
    try:
        async with aclosing(console.follow(stream, offset)) as following:
            async for messages in following:
                data = msgspec.json.encode(messages)
                identity = messages.tail or (messages.behind.offset if messages.behind else "")
                yield written(data, id=identity.encode())
        yield written(b"{}", name=b"closed")
    except ConsoleError as refusal:
        yield written(problem_document(refusal.status, refusal.reason), name=b"problem")
