"""A receiver of webhooks: it verifies each wake, works on it, and acknowledges what it has read."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

import headgate
from aiohttp import web

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

STREAMS = os.environ.get("WEBHOOK_STREAMS", "http://127.0.0.1:4437/v1/stream")
PORT = int(os.environ.get("WEBHOOK_PORT", "9000"))
RECEIVER = web.AppKey("receiver", headgate.WebhookReceiver)
MOST_BYTES = 2 << 20  # a wake with many streams has a megabyte

working: set[asyncio.Task[None]] = set()  # else a task may be collected before it ends


async def confirm(customer: str, order: dict[str, Any]) -> None:
    """Do the work: here, a line is printed."""
    print(f"{customer}: your order of {order['item']} has arrived", flush=True)


async def work(job: headgate.Job) -> None:
    """Work on a wake; the end of the block acknowledges what was read."""
    async with job:
        for stream in job.pending:
            async for order in stream.messages():
                await confirm(stream.name, order)


async def hook(request: web.Request) -> web.Response:
    """Answer a webhook at once, and go on working behind the answer."""
    try:
        job = await request.app[RECEIVER].job(await request.read(), request.headers)
    except headgate.NotAuthorized as rejection:
        print(f"answered 401: {rejection}", flush=True)
        return web.Response(status=401, text=f"{rejection}")
    except headgate.StreamError as failure:  # no keys: Headgate sends the wake again
        print(f"answered 503: {failure}", flush=True)
        return web.Response(status=503)
    if job is not None:
        task = asyncio.create_task(work(job))
        working.add(task)
        task.add_done_callback(working.discard)
    return web.Response()


async def with_receiver(app: web.Application) -> AsyncIterator[None]:
    """Have a receiver for as long as the application runs; jobs are released at its end."""
    async with headgate.WebhookReceiver(STREAMS, "orders") as app[RECEIVER]:
        yield


app = web.Application(client_max_size=MOST_BYTES)
app.cleanup_ctx.append(with_receiver)
app.router.add_post("/hook", hook)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=PORT, print=None)
