"""One application of a chat with a model, by two frameworks: ask, resume, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from typing import TYPE_CHECKING

import uvicorn
from aiohttp import web
from aiohttp.test_utils import TestServer
from fastapi import FastAPI, Request, Response
from headgate.web import aiohttp as by_aiohttp
from headgate.web import starlette as by_starlette

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from headgate.runs import Answer, Runs

    Model = Callable[[], AsyncIterator[str]]


class Chats:
    """The `newest` run of each chat, and how often somebody came back for one."""

    def __init__(self, runs: Runs, model: Model) -> None:
        self.runs = runs
        self._model = model
        self.newest: dict[str, str] = {}
        self.resumes = 0

    async def ask(self, chat: str) -> Answer:
        """What the model answers."""
        run = self.newest[chat] = uuid.uuid4().hex
        return await self.runs.start(run, self._model(), format="ai-sdk")

    def resumed(self, name: str) -> str:
        """The run that is named by its own id, or by its chat's."""
        self.resumes += 1
        return self.newest.get(name, name)


@contextlib.asynccontextmanager
async def aiohttp_app(chats: Chats) -> AsyncIterator[int]:
    """The port where it listens."""

    async def ask(request: web.Request) -> web.StreamResponse:
        answer = await chats.ask((await request.json())["id"])
        return by_aiohttp.send(answer)

    async def resume(request: web.Request) -> web.StreamResponse:
        run = chats.resumed(request.match_info["name"])
        return await by_aiohttp.resume(request, chats.runs, run)

    app = web.Application()
    app.add_routes([web.post("/chat", ask), web.get("/chat/{name}/stream", resume)])
    async with TestServer(app) as server:
        assert server.port is not None, "it listens"
        yield server.port


@contextlib.asynccontextmanager
async def fastapi_app(chats: Chats) -> AsyncIterator[int]:
    """The port where it listens."""
    app = FastAPI()

    @app.post("/chat")
    async def ask(request: Request) -> Response:
        return by_starlette.send(await chats.ask((await request.json())["id"]))

    @app.get("/chat/{name:path}/stream")  # an encoded slash is decoded before the route is found
    async def resume(request: Request, name: str) -> Response:
        return await by_starlette.resume(request, chats.runs, chats.resumed(name))

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
