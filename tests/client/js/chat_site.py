"""Chats of an application, whose answers the test gives word by word."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer
from headgate.chats import Chats
from headgate.web.aiohttp import chat_router

from tests.client.runs.sources import Feed

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiohttp.typedefs import Handler
    from headgate.chats import Turn
    from headgate.runs import Runs


class ChatSite:
    """The chats at /api/chat; to /feed goes what the model says in a chat."""

    def __init__(self, runs: Runs) -> None:
        self.chats = Chats(runs)
        self.feeds: dict[str, Feed] = {}  # the newest of each chat
        self.stops = 0  # requests
        self.resumes = 0  # requests
        self._asked: Counter[str] = Counter()
        self._transports: list[asyncio.Transport] = []

    def application(self) -> web.Application:
        """Make an application of the chats alone."""
        app = web.Application(middlewares=[self._count])
        app.add_routes(
            [
                *chat_router(self.chats, self._answer, authorize=lambda *_: True),
                web.post("/feed/{chat}", self._feed),
                web.get("/state/{chat}", self._state),
            ]
        )
        return app

    def cut(self) -> None:
        """Cut all connections."""
        for transport in self._transports:
            transport.abort()

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        """The port where it listens."""
        async with TestServer(self.application(), host="127.0.0.1") as server:
            assert server.port is not None, "it listens"
            yield server.port

    async def state(self, chat: str) -> tuple[int, str]:
        """How many questions were asked in a chat, and what has become of the newest."""
        state = await self.chats.state(chat)
        return (0, "nothing") if state is None else (self._asked[chat], state.status)

    def _answer(self, turn: Turn) -> AsyncGenerator[object]:
        self._asked[turn.chat_id] += 1
        feed = self.feeds[turn.chat_id] = Feed()
        return feed.source()

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.stops += request.path.endswith("/stop")
        self.resumes += request.path.endswith("/stream")
        assert request.transport is not None, "it is open"
        self._transports.append(request.transport)
        return await handler(request)

    async def _feed(self, request: web.Request) -> web.Response:
        feed = self.feeds.get(request.match_info["chat"])
        if feed is None:
            raise web.HTTPNotFound  # it has not been asked yet
        for item in await request.json():
            if item is None:
                feed.end()
            else:
                feed.give(item)
        return web.Response()

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(await self.state(request.match_info["chat"]))
