"""A hop before a gateway that passes all on, but for what functions of a test do to it."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

OF_THE_CONNECTION = ("Connection", "Transfer-Encoding", "Content-Length")


@dataclass(slots=True)
class Asked:
    """A request, which a patient may change before it is sent on."""

    method: str
    path: str
    query: str
    headers: CIMultiDict[str]
    body: bytes

    @property
    def target(self) -> str:
        return f"{self.path}?{self.query}" if self.query else self.path

    @property
    def live(self) -> str:
        pairs = dict(part.partition("=")[::2] for part in self.query.split("&"))
        return pairs.get("live", "")


@dataclass(slots=True)
class Answered:
    """A response, which a patient may change before it is sent back."""

    status: int
    headers: CIMultiDict[str]
    body: bytes = b""


@dataclass(slots=True)
class Patient:
    """What a hop does wrong, and the checks by which the doctor names it."""

    checks: set[str]
    # Changes a request, or answers it.
    asks: Callable[[Asked], Answered | None] | None = None
    # Changes a response.
    answers: Callable[[Asked, Answered], None] | None = None
    # Equal requests for events share one response, and who comes late misses its beginning.
    joins_events: bool = False
    feeds: dict[str, list[asyncio.Queue[bytes]]] = field(default_factory=dict)


class _Handler:
    def __init__(self, gateway: str, patient: Patient, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._patient = patient
        self._session = session

    async def answer(self, request: web.Request) -> web.StreamResponse:
        patient = self._patient
        path, _, query = request.raw_path.partition("?")
        headers = CIMultiDict(request.headers)
        for name in OF_THE_CONNECTION:
            headers.popall(name, None)
        asked = Asked(request.method, path, query, headers, await request.read())
        if patient.asks is not None and (own := patient.asks(asked)) is not None:
            return _made(own)
        if patient.joins_events and asked.live == "sse" and asked.target in patient.feeds:
            return await self._follow(request, asked)
        async with self._session.request(
            asked.method,
            URL(f"{self._gateway}{asked.target}", encoded=True),
            headers=asked.headers,
            data=asked.body or None,
            allow_redirects=False,
            skip_auto_headers=("Content-Type", "Accept-Encoding", "User-Agent"),
            timeout=aiohttp.ClientTimeout(total=None),
        ) as answer:
            if answer.content_type == "text/event-stream":
                return await self._stream(request, asked, answer)
            found = Answered(answer.status, CIMultiDict(answer.headers), await answer.read())
        for name in OF_THE_CONNECTION:
            found.headers.popall(name, None)
        if patient.answers is not None:
            patient.answers(asked, found)
        return _made(found)

    async def _stream(
        self, request: web.Request, asked: Asked, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        patient = self._patient
        found = Answered(answer.status, CIMultiDict(answer.headers))
        for name in OF_THE_CONNECTION:
            found.headers.popall(name, None)
        if patient.answers is not None:
            patient.answers(asked, found)
        passed = web.StreamResponse(headers=found.headers)
        await passed.prepare(request)
        followers = patient.feeds.setdefault(asked.target, [])
        try:
            while line := await answer.content.readline():
                await passed.write(line)
                for follower in followers:
                    follower.put_nowait(line)
        finally:
            patient.feeds.pop(asked.target, None)
            for follower in followers:
                follower.put_nowait(b"")
        return passed

    async def _follow(self, request: web.Request, asked: Asked) -> web.StreamResponse:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._patient.feeds[asked.target].append(queue)
        passed = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await passed.prepare(request)
        while out := await queue.get():
            await passed.write(out)
        return passed


def _made(found: Answered) -> web.Response:
    return web.Response(status=found.status, headers=found.headers, body=found.body)


@contextlib.asynccontextmanager
async def scripted_hop(gateway: str, patient: Patient) -> AsyncIterator[str]:
    """The URL of a hop before a gateway, as long as the block lasts."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),
        read_bufsize=1 << 18,
        max_line_size=1 << 16,
        max_field_size=1 << 16,
    ) as session:
        app = web.Application(client_max_size=1 << 24)
        app.router.add_route("*", "/{path:.*}", _Handler(gateway, patient, session).answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.2)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            await runner.cleanup()
