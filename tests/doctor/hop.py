"""A hop before a gateway that does everything right, but for the faults that a test names."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from headgate.shielding import shielded
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

END = b""  # of a joined response
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
    lowers_paths: bool = False
    reads_as_text: bool = False  # answers to reads
    keeps_404: bool = False
    wants: str | None = None  # an Authorization without which nobody is let in
    keeps_for_all: bool = False
    passes_authorization: bool = False  # by what is kept or joined
    cuts_responses_at: int | None = None
    most_fields: int | None = None  # so many fields of a response, the others are dropped
    turns_204_into: int = 204
    keeps_events: bool = False  # that are complete
    joins: tuple[str, ...] = ()  # equal requests under way with these values of live, or without


class Hop:
    """Passes requests on, and counts their methods."""

    def __init__(self, gateway: str, faults: Faults, session: aiohttp.ClientSession) -> None:
        self._gateway = gateway
        self._session = session
        self._faults = faults
        self.requests: list[str] = []
        self._missing: set[str] = set()
        self._kept: dict[str, tuple[bytes, dict[str, str]]] = {}
        self._under_way: dict[str, asyncio.Future[web.StreamResponse]] = {}
        self._feeds: dict[str, tuple[list[bytes], asyncio.Condition]] = {}
        self._feeding: list[asyncio.Task[None]] = []

    async def close(self) -> None:
        """End the feeds of joined events."""
        for task in self._feeding:
            task.cancel()
        await asyncio.gather(*self._feeding, return_exceptions=True)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Pass a request on."""
        faults = self._faults
        self.requests.append(request.method)
        if faults.joins and request.method == "GET" and not self._is_passed(request):
            live = request.query.get("live", "")
            if live in faults.joins:
                joined = self._events_joined if live == "sse" else self._joined
                return await joined(request)
        return await self._answered(request)

    def _is_passed(self, request: web.Request) -> bool:
        return self._faults.passes_authorization and "Authorization" in request.headers

    async def _joined(self, request: web.Request) -> web.StreamResponse:
        """Answer equal requests with the response to the first of them, whoever asks."""
        first = self._under_way.get(request.raw_path)
        if first is None:
            first = asyncio.ensure_future(self._answered(request))
            self._under_way[request.raw_path] = first
            first.add_done_callback(lambda _: self._under_way.pop(request.raw_path))
        answer = await shielded(first)
        assert isinstance(answer, web.Response)
        return web.Response(status=answer.status, headers=answer.headers, body=answer.body)

    async def _events_joined(self, request: web.Request) -> web.StreamResponse:
        """Send the events that the first of equal requests gets to all of them."""
        feed = self._feeds.get(request.raw_path)
        if feed is None:
            feed = self._feeds[request.raw_path] = ([], asyncio.Condition())
            url = URL(f"{self._gateway}{request.raw_path}", encoded=True)
            feeding = self._feed(url, self._passed(request.headers), *feed)
            self._feeding.append(asyncio.create_task(feeding))
        lines, more = feed
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        sent = 0
        while not lines or lines[-1] != END:
            async with more:
                while sent == len(lines):
                    await more.wait()
            await answer.write(b"".join(lines[sent:]))
            sent = len(lines)
        return answer

    async def _feed(
        self, url: URL, headers: Mapping[str, str], lines: list[bytes], more: asyncio.Condition
    ) -> None:
        async with self._session.get(url, headers=headers) as answer:
            async for line in answer.content:
                async with more:
                    lines.append(line)
                    more.notify_all()
        async with more:
            lines.append(END)
            more.notify_all()
        del self._feeds[url.raw_path_qs]

    async def _answered(self, request: web.Request) -> web.StreamResponse:
        faults = self._faults
        is_event = faults.keeps_events and request.query.get("live") == "sse"
        is_shared = faults.keeps_for_all or is_event
        kept = self._kept.get(request.raw_path) if is_shared else None
        if self._is_passed(request):
            kept = None
        if kept is not None and request.method == "GET":
            return web.Response(body=kept[0], headers=kept[1])
        if refusal := self._refusal(request):
            return web.Response(status=refusal)
        method = request.method
        if faults.loses_appends and method == "POST":
            method = "GET"  # as by `fetch(url)` in a Worker
        body = await request.read()
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
            fields = [it for it in headers.items() if it[0].lower() not in dropped]
            headers = dict(fields[: self._faults.most_fields])
            if answer.status == 404:
                self._missing.add(request.raw_path)
        if request.method == "GET" and answer.status == 200:
            self._kept[request.raw_path] = body, headers
        status = self._faults.turns_204_into if answer.status == 204 else answer.status
        body = body[: self._faults.cuts_responses_at] if request.method == "GET" else body
        return web.Response(status=status, headers=headers, body=body)

    async def _events(
        self, request: web.Request, answer: aiohttp.ClientResponse
    ) -> web.StreamResponse:
        passed = web.StreamResponse(headers=self._passed(answer.headers))
        await passed.prepare(request)
        events = 0
        lines: list[bytes] = []
        while line := await answer.content.readline():
            events += line.startswith(b"event: data")
            if self._faults.lets_through is not None and events > self._faults.lets_through:
                continue
            if not (self._faults.drops_comments and line.startswith(b":")):
                await passed.write(line)
                lines.append(line)
        self._kept[request.raw_path] = b"".join(lines), self._passed(answer.headers)
        return passed

    def _passed(self, headers: Mapping[str, str]) -> dict[str, str]:
        return _without(headers, (*NOT_PASSED_ON, *self._faults.drops))


def _without(headers: Mapping[str, str], names: Iterable[str]) -> dict[str, str]:
    dropped = {name.lower() for name in names}
    return {name: value for name, value in headers.items() if name.lower() not in dropped}


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
        app.router.add_route("*", "/{path:.*}", handler.answer)
        runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=1)
        await runner.setup()
        port = free_port()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        try:
            yield f"http://127.0.0.1:{port}", handler
        finally:
            await handler.close()
            await runner.cleanup()
