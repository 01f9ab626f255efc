"""Server-sent events to the clients of the console, until their sessions are over."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import aclosing
from typing import TYPE_CHECKING

from aiohttp import web

from headgate_admin.access.check import SESSION
from headgate_admin.access.sign_in import SIGN_IN
from headgate_admin.errors import ConsoleError
from headgate_gateway.telemetry.logs import log

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

EVENTS_S = 2.0  # between two overviews
# Each has a connection; a tail has another one to the streams' listener. They may take three of
# four admin connections, so that other requests are answered, too.
MOST_LISTENERS = 200
LOOK_S = 1.0  # between two looks whether the client is there, and its session not over


class Listeners:
    """The clients of event streams; those of a session are disconnected when it is over."""

    def __init__(self, connections: int) -> None:
        """Take at most `connections` for all streams of events, as the admin listener does."""
        self._share = connections * 3 // 4
        self._writing: set[asyncio.Task[None]] = set()

    async def serve(
        self, request: web.Request, events: AsyncGenerator[bytes]
    ) -> web.StreamResponse:
        """Send events until there are no more, the client goes, or its session is over."""
        if len(self._writing) >= min(MOST_LISTENERS, self._share):
            raise ConsoleError(503, "too many listen: close a page", {"Retry-After": "5"})
        session, sessions = request.get(SESSION), request.app[SIGN_IN].sessions
        response = web.StreamResponse(headers={"X-Accel-Buffering": "no"})
        response.content_type = "text/event-stream"
        response.charset = "utf-8"
        writing = asyncio.create_task(_write(request, response, events))
        self._writing.add(writing)
        try:
            while not writing.done() and request.transport is not None:
                if session is not None and not sessions.stands(session):
                    break
                await asyncio.wait([writing], timeout=LOOK_S)
        finally:
            self._writing.remove(writing)
            writing.cancel()
            (failure,) = await asyncio.gather(writing, return_exceptions=True)
        if isinstance(failure, Exception):
            if not response.prepared:
                raise failure
            # The head is sent: all that is left is to end the answer, and the client asks again.
            log.error("admin.events_failed", path=request.path, exc_info=failure)
        return response

    def end_all(self) -> None:
        """Disconnect all clients, because the server stops."""
        for writing in self._writing:
            writing.cancel()


async def _write(
    request: web.Request, response: web.StreamResponse, events: AsyncGenerator[bytes]
) -> None:
    with contextlib.suppress(ConnectionError):  # the client is gone
        async with aclosing(events):
            await response.prepare(request)
            async for event in events:
                await response.write(event)


LISTENERS: web.AppKey[Listeners] = web.AppKey("listeners", Listeners)


async def ticks() -> AsyncGenerator[None]:
    """Yield now, and then at moments that all callers have in common, so that they share pages."""
    loop = asyncio.get_running_loop()
    while True:
        yield
        await asyncio.sleep(EVENTS_S - loop.time() % EVENTS_S)
