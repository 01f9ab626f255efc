"""A hostile way to a server: each HTTP request is passed on, or meets another fate."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp
from aiohttp import web

from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from multidict import CIMultiDictProxy

_BY_HOP = {"connection", "content-length", "date", "keep-alive", "server", "transfer-encoding"}
_LONGEST_BODY = 1 << 30


class Fate(enum.Enum):
    """What becomes of a request; the server has it where that comes `AFTER`."""

    PASSED = enum.auto()
    LOST = enum.auto()
    LOST_AFTER = enum.auto()
    REFUSED = enum.auto()
    FAILED_AFTER = enum.auto()
    LIMITED_AFTER = enum.auto()
    TIMED_OUT_AFTER = enum.auto()


STATUS_AFTER = {Fate.FAILED_AFTER: 502, Fate.LIMITED_AFTER: 429, Fate.TIMED_OUT_AFTER: 408}


@dataclass(frozen=True, slots=True)
class Heard:
    """A request, and its fate."""

    method: str
    headers: CIMultiDictProxy[str]
    body: bytes
    fate: Fate


async def passes(_request: web.Request) -> Fate:
    """The fate of a request on a good way."""
    return Fate.PASSED


class RequestProxy:
    """Stands before a loopback port.

    `decide` says what becomes of a request, when its head has come, and may keep it waiting.
    """

    def __init__(
        self,
        target_port: int,
        decide: Callable[[web.Request], Awaitable[Fate]] = passes,
        refusal: Callable[[], web.Response] = lambda: web.Response(status=503),
    ) -> None:
        self._decide = decide
        self._refusal = refusal
        self.port = free_port()
        self.heard: list[Heard] = []
        self._target = f"http://127.0.0.1:{target_port}"
        self._session: aiohttp.ClientSession  # once it is entered
        app = web.Application(client_max_size=_LONGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self._serve)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def appends(self) -> list[Heard]:
        """The POST requests so far."""
        return [heard for heard in self.heard if heard.method == "POST"]

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(limit=0)
        self._session = aiohttp.ClientSession(connector=connector, auto_decompress=False)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
        await self._session.close()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        fate = await self._decide(request)
        self.heard.append(Heard(request.method, request.headers, body, fate))
        answer = None
        if fate is Fate.REFUSED:
            answer = self._refusal()
        elif fate is not Fate.LOST:
            answer = await self._pass(request, body)
        if answer is None or fate is Fate.LOST_AFTER:
            if request.transport is not None:  # else the client has gone
                request.transport.abort()
            return web.Response()
        return web.Response(status=STATUS_AFTER[fate]) if fate in STATUS_AFTER else answer

    async def _pass(self, request: web.Request, body: bytes) -> web.Response | None:
        """The server's answer; None when there is none."""
        headers = [item for item in request.headers.items() if item[0].lower() not in _BY_HOP]
        try:
            async with self._session.request(
                request.method,
                f"{self._target}{request.raw_path}",
                headers=headers,
                data=body,
                skip_auto_headers=("Content-Type", "User-Agent"),
            ) as answer:
                passed = [item for item in answer.headers.items() if item[0].lower() not in _BY_HOP]
                text = await answer.read()
                return web.Response(status=answer.status, headers=passed, body=text)
        except aiohttp.ClientError:
            return None
