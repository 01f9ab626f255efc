"""An application with chats, whose answers the test gives word by word."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer
from headgate.chats import Chats
from headgate.chats.aiohttp import chat_router

from tests.client.runs.sources import Feed

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from headgate.chats import Turn
    from headgate.runs import Runs


class ChatSite:
    """The chats at /api/chat; to /feed goes what the model says in a chat."""

    def __init__(self, runs: Runs) -> None:
        self._chats = Chats(runs)
        self._feeds: dict[str, Feed] = {}

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[int]:
        """The port where it listens."""
        app = web.Application()
        routes = chat_router(self._chats, self._answer, authorize=lambda *_: True)
        app.add_routes(
            [
                *routes,
                web.post("/feed/{chat}", self._feed),
                web.get("/state/{chat}", self._state),
            ]
        )
        async with TestServer(app, host="127.0.0.1") as server:
            assert server.port is not None, "it listens"
            yield server.port

    def _answer(self, turn: Turn) -> AsyncGenerator[object]:
        feed = self._feeds[turn.chat] = Feed()
        return feed.source()

    async def _feed(self, request: web.Request) -> web.Response:
        feed = self._feeds.get(request.match_info["chat"])
        if feed is None:
            raise web.HTTPNotFound  # it has not been asked yet
        for item in await request.json():
            if item is None:
                feed.end()
            else:
                feed.give(item)
        return web.Response()

    async def _state(self, request: web.Request) -> web.Response:
        """Answer with how many questions were asked, and what has become of the newest."""
        state = await self._chats.state(request.match_info["chat"])
        return web.json_response(None if state is None else [state.questions, state.status])
