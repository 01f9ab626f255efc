"""A provider in a process of its own, which answers what the plan of the request's seed says."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections import defaultdict
from typing import TYPE_CHECKING

from aiohttp import web

from tests.models.histories.plans import plan_of

if TYPE_CHECKING:
    from tests.models.histories.plans import Dialect


class Provider:
    """The calls that came, by the name that each request has in `user`."""

    def __init__(self) -> None:
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.starts: defaultdict[str, list[int]] = defaultdict(list)  # calls that were answered

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        if request.path == "/calls":
            return web.json_response({"calls": self.calls, "starts": self.starts})
        body = await request.read()
        if request.method != "POST" or not body or not request.path.startswith("/v1/"):
            return web.json_response({"error": {"message": "Not known here"}}, status=404)
        value = json.loads(body)
        name = value["user"]
        self.calls[name] += 1
        dialect: Dialect = value["dialect"]
        plan = plan_of(dialect, value["seed"], self.calls[name], value["model"])
        if plan.refusal:
            return await _refuse(request, plan.refusal)
        self.starts[name].append(self.calls[name])
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
        answer.enable_chunked_encoding()
        await answer.prepare(request)
        with contextlib.suppress(ConnectionError):  # the gateway may leave
            for pause, piece in plan.pieces:
                if pause:
                    await asyncio.sleep(pause)
                await answer.write(piece)
        if plan.is_cut and request.transport is not None:
            request.transport.close()  # behind what has been written
            await asyncio.sleep(0.1)
        return answer


async def _refuse(request: web.BaseRequest, status: int) -> web.StreamResponse:
    if status == 1 and request.transport is not None:
        request.transport.abort()
        await asyncio.sleep(1)
    error = {"type": "error", "error": {"type": "overloaded_error", "message": f"No: {status}"}}
    return web.json_response(error, status=status, headers={"Retry-After": "0"})


async def serve(port: int) -> None:
    """Serve until this process is killed."""
    runner = web.ServerRunner(web.Server(Provider().handle, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
