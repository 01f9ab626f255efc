"""An application served in this process: aiohttp's, of ASGI by uvicorn, of WSGI by werkzeug."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Literal

import uvicorn
from aiohttp import web
from werkzeug.serving import make_server

from tests.support.ports import free_port
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


@contextlib.asynccontextmanager
async def aiohttp_of(app: web.Application) -> AsyncIterator[str]:
    """The URL of its root; as with `web.run_app`, a handler goes on when its client has left."""
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await runner.cleanup()


@contextlib.asynccontextmanager
async def uvicorn_of(
    app: Callable[..., Any], lifespan: Literal["on", "off"] = "off"
) -> AsyncIterator[str]:
    """The URL of its root."""
    port = free_port()
    config = uvicorn.Config(app, port=port, log_level="error", lifespan=lifespan, ws="none")
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve())  # `serve` would take over the signals
    try:
        await until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await serving


@contextlib.asynccontextmanager
async def werkzeug_of(app: Callable[..., Any]) -> AsyncIterator[str]:
    """The URL of its root."""
    server = make_server("127.0.0.1", 0, app, threaded=True)
    serving = asyncio.create_task(asyncio.to_thread(server.serve_forever))
    try:
        yield f"http://127.0.0.1:{server.port}"
    finally:
        await asyncio.to_thread(server.shutdown)
        await serving
        server.server_close()
