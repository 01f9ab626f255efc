"""A hop before a gateway that does everything right, but for the faults that a test names."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

# Of the connection, or made anew.
NOT_PASSED_ON = {"Connection", "Transfer-Encoding", "Content-Length", "Content-Encoding"}


@dataclass
class Faults:
    """What the hop does wrong; nothing unless it is said."""

    loses_appends: bool = False
    cuts_bodies_at: int | None = None
    lets_through: int | None = None  # so many events with data, and nothing after them
    drops_comments: bool = False
    longest_body: int = 1 << 24
    ends_polls_after_s: float | None = None
    ends_polls_with: int = 504
    drops: tuple[str, ...] = ()  # header fields of requests and answers
    drops_from_reads: tuple[str, ...] = ()  # header fields of answers to GET
    refuses: tuple[str, ...] = ()  # methods
    refuses_to_wait: bool = False  # for a body that comes after a 100
    lowers_paths: bool = False
    requires_length: bool = False
    reads_as_text: bool = False  # answers to reads
    writes_json_anew: bool = False  # as JavaScript does, whose numbers are floating
    keeps_404: bool = False
    wants: str | None = None  # an Authorization without which nobody is let in
    keeps_for_all: bool = False
    forgets_after_s: float = 3600.0


class Hop:
    """Passes requests on, and counts their methods."""

    def __init__(self, gateway: str, faults: Faults, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._session = session
        self._faults = faults
        self.requests: list[str] = []
        self._missing: set[str] = set()
        self._kept: dict[str, tuple[bytes, dict[str, str], float]] = {}

    def _now_s(self) -> float:
        return asyncio.get_running_loop().time()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on."""
        faults = self._faults
        self.requests.append(request.method)
        kept = self._kept.get(request.raw_path) if faults.keeps_for_all else None
        is_kept = kept is not None and self._now_s() - kept[2] < faults.forgets_after_s
        if kept is not None and is_kept and request.method == "GET":
            return web.Response(body=kept[0], headers=kept[1])
        if refusal := self._refusal(request):
            return web.Response(status=refusal)
        method = request.method
        if faults.loses_appends and method == "POST":
            method = "GET"  # as by `fetch(url)` in a Worker
        body = await request.read()
        if faults.writes_json_anew and request.content_type == "application/json" and body:
            body = json.dumps(json.loads(body, parse_int=float)).encode()
        try:
            return await self._asked(method, request, body)
        except TimeoutError:
            return web.Response(status=faults.ends_polls_with)

    def _refusal(self, request: web.Request) -> int | None:
        """Return the status of what is not passed on."""
        faults = self._faults
        if faults.wants not in {None, request.headers.get("Authorization")}:
            return 401
        if request.method in faults.refuses:
            return 405
        if faults.requires_length and request.method == "POST" and request.content_length is None:
            return 411
        is_missing = request.method == "GET" and request.raw_path in self._missing
        return 404 if faults.keeps_404 and is_missing else None

    async def _asked(self, method: str, request: web.Request, body: bytes) -> web.StreamResponse:
        faults = self._faults
        async with self._session.request(
            method,
            URL(f"{self._gateway}{self._path(request)}", encoded=True),
            headers=self._passed(request.headers),
            data=None if method == "GET" else BytesIO(body[: faults.cuts_bodies_at]),
            skip_auto_headers=("Content-Type", "Accept-Encoding"),
            timeout=aiohttp.ClientTimeout(total=self._patience_s(request)),
        ) as answer:
            if answer.content_type == "text/event-stream":
                return await self._events(request, answer)
            return await self._whole(request, answer)

    def _path(self, request: web.Request) -> str:
        path, mark, query = request.raw_path.partition("?")
        return f"{path.lower() if self._faults.lowers_paths else path}{mark}{query}"

    def _patience_s(self, request: web.Request) -> float | None:
        is_poll = request.query.get("live") == "long-poll"
        return self._faults.ends_polls_after_s if is_poll else None

    async def _whole(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        body, headers = await answer.read(), self._passed(answer.headers)
        if self._faults.reads_as_text and request.method == "GET":
            body = body.decode(errors="replace").encode()
        if request.method == "GET":
            dropped = {name.lower() for name in self._faults.drops_from_reads}
            headers = {
                name: value for name, value in headers.items() if name.lower() not in dropped
            }
            if answer.status == 404:
                self._missing.add(request.raw_path)
        if request.method == "GET" and answer.status == 200:
            self._kept[request.raw_path] = body, headers, self._now_s()
        return web.Response(status=answer.status, headers=headers, body=body)

    async def _events(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        passed = web.StreamResponse(headers=self._passed(answer.headers))
        await passed.prepare(request)
        events = 0
        while line := await answer.content.readline():
            events += line.startswith(b"event: data")
            if self._faults.lets_through is not None and events > self._faults.lets_through:
                continue
            if not (self._faults.drops_comments and line.startswith(b":")):
                await passed.write(line)
        return passed

    def _passed(self, headers: Mapping[str, str]) -> dict[str, str]:
        return _without(headers, (*NOT_PASSED_ON, *self._faults.drops))


def _without(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    dropped = {name.lower() for name in names}
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


async def _refuse_to_wait(_: web.Request) -> web.StreamResponse:
    return web.Response(status=417)


@contextlib.asynccontextmanager
async def hop(gateway: str, faults: Faults) -> AsyncIterator[tuple[str, Hop]]:
    """The URL of a hop before a gateway, as long as the block lasts; and the hop."""
    async with aiohttp.ClientSession(
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        connector=aiohttp.TCPConnector(limit=0),  # as many at once as it is asked itself
    ) as session:
        handler = Hop(gateway, faults, session)
        app = web.Application(client_max_size=faults.longest_body)
        waiting = _refuse_to_wait if faults.refuses_to_wait else None
        app.router.add_route("*", "/{path:.*}", handler.answer, expect_handler=waiting)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}", handler
        finally:
            await runner.cleanup()
