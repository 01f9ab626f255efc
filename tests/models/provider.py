"""A provider double: it gives recorded answers, event by event, and remembers its requests."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

from aiohttp import web

from tests.models.answers import chat_completion, message, response
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

ANSWERS = {
    "/v1/chat/completions": chat_completion,
    "/v1/responses": response,
    "/v1/messages": message,
}
HEAD = {"Content-Type": "text/event-stream; charset=utf-8", "X-Provider-Id": "req_7"}
ELSE = {"id": "of the provider", "object": "list", "data": []}  # the response to all else
WHOLE = {
    "id": "chatcmpl-1",
    "object": "chat.completion",
    "created": 1741569952,
    "model": "gpt-4o-mini",
    "choices": [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "Hello!"},
            "finish_reason": "stop",
        }
    ],
    "usage": {"prompt_tokens": 19, "completion_tokens": 10, "total_tokens": 29},
}


class Provider:
    """The double: each event of an answer waits until `allowed` lets it go."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[web.BaseRequest] = []
        self.left = 0  # requests whose client was gone before the end of the answer
        self.has_left = asyncio.Event()  # once one was
        self.statuses: list[int] = []  # of the next requests, instead of an answer
        self.lingers: asyncio.Event | None = None  # awaited before the end of an answer
        self.cuts_after: int | None = None  # events, then it breaks the connection
        self._allowed: asyncio.Semaphore | None = None  # None: all of them

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Let no more events go, until `allow`."""
        self._allowed = asyncio.Semaphore(0)

    def allow(self, events: int = 1_000_000) -> None:
        """Let so many more events go."""
        assert self._allowed is not None, "nothing is held"
        for _ in range(min(events, 1000)):
            self._allowed.release()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        if self.statuses:
            refusal = {"error": {"message": "try later", "type": "server_error"}}
            return web.json_response(refusal, status=self.statuses.pop(0))
        if request.path not in ANSWERS:
            return web.json_response(ELSE)
        if not json.loads(await request.read()).get("stream"):
            return await self._whole()
        return await self._stream(request)

    async def _whole(self) -> web.Response:
        try:
            if self.lingers is not None:
                await self.lingers.wait()
        except asyncio.CancelledError:
            self.left += 1
            raise
        return web.json_response(WHOLE)

    async def _stream(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(headers=HEAD)
        await answer.prepare(request)
        try:
            for number, one in enumerate(ANSWERS[request.path]()):
                if self._allowed is not None:
                    await self._allowed.acquire()
                if number == self.cuts_after:
                    assert request.transport is not None
                    request.transport.abort()
                    break
                await answer.write(one)
            if self.lingers is not None:
                await self.lingers.wait()
        except (ConnectionError, asyncio.CancelledError):
            self.left += 1
            self.has_left.set()
            raise
        return answer


@contextlib.asynccontextmanager
async def providing() -> AsyncIterator[Provider]:
    """Serve a provider on a free port."""
    provider = Provider()
    server = web.Server(provider.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", provider.port).start()
    try:
        yield provider
    finally:
        await runner.cleanup()
