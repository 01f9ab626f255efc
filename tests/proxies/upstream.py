"""A server behind a proxy: it gives the response that a test sets, part by part."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aiohttp import web

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence


class Upstream:
    """The server: each part of a response waits until `allow` lets it go, after `hold`."""

    def __init__(self) -> None:
        self.port = free_port()
        self.requests: list[web.BaseRequest] = []
        self.bodies: list[bytes] = []
        self.status = 200
        self.fields: Mapping[str, str] = {"Content-Type": "text/event-stream"}
        self.parts: Sequence[bytes] = (b"data: one\n\n", b"data: two\n\n")
        self.cuts_after: int | None = None  # parts, then it breaks the connection
        self.sent = 0  # parts
        self.is_silent = False  # it never sends a head
        self.has_left = asyncio.Event()  # once a client was gone before the end
        self._allowed: asyncio.Semaphore | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hold(self) -> None:
        """Let no more parts go, until `allow`."""
        self._allowed = asyncio.Semaphore(0)

    def allow(self, parts: int = 1000) -> None:
        """Let so many more parts go."""
        assert self._allowed is not None, "nothing is held"
        for _ in range(parts):
            self._allowed.release()

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        self.bodies.append(await request.read())
        try:
            if self.is_silent:
                await asyncio.Event().wait()
            return await self._answer(request)
        except (ConnectionError, asyncio.CancelledError):
            self.has_left.set()
            raise

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = web.StreamResponse(status=self.status, headers=self.fields)
        await answer.prepare(request)
        for number, part in enumerate(self.parts):
            if self._allowed is not None:
                await self._allowed.acquire()
            if number == self.cuts_after:
                assert request.transport is not None
                request.transport.abort()
                break
            await answer.write(part)
            self.sent += 1
        if self._allowed is not None:
            await self._allowed.acquire()
        return answer


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Upstream]:
    """Serve an upstream on a free port."""
    upstream = Upstream()
    server = web.Server(upstream.handle, handler_cancellation=True)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", upstream.port).start()
    try:
        yield upstream
    finally:
        await runner.cleanup()
