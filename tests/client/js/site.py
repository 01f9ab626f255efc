"""An application whose pages follow runs and chats with the npm package, and a browser's tabs."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from headgate.chats import Chats
from headgate.web.aiohttp import chat_router, resume
from tests.client.runs.sources import Feed
from tests.clients.service_workers import ENABLED, WORKER
from tests.support.processes import ROOT
from tests.support.unmodified_clients import CHROMIUM
from tests.support.waiting import SERVER_PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator

    from aiohttp.typedefs import Handler
    from playwright.async_api import BrowserContext, CDPSession, Page

    from headgate.chats import Turn
    from headgate.runs import Runs

MODULES = ROOT / "client/js/dist/esm"
HTML = """<!doctype html>
<body></body>
<script type="importmap">{"imports": {"headgate-client": "/package/index.js"}}</script>
<script type="module">
"""
FOLLOWING = """
  import { followRun, followStream } from "headgate-client";
  const waiting = [];
  const tell = (name, what) => {
    window[name].push(what);
    waiting.splice(0).forEach((notify) => notify());
  };
  window.received = async (name, count) => {
    while (window[name].length < count) await new Promise((notify) => waiting.push(notify));
    return window[name];
  };
  Object.assign(window, { items: [], places: [], ends: [], refusals: [], states: [] });
  const onItem = (item) => tell("items", item instanceof Uint8Array ? [...item] : item);
  FOLLOW("URL", {
    ...OPTIONS,
    onItem,
    onMessage: (message, place) => {
      window.places.push(place);
      onItem(message);
    },
    onEnd: (end) => tell("ends", end),
    onClose: () => tell("ends", "closed"),
    onState: (...state) => tell("states", state),
    onError: ({ message, status }) => tell("refusals", [status, message]),
  });
"""


def following(url: str, **options: Any) -> str:
    """Return a script that follows a stream, or a run of the site."""
    follow = "followRun" if url.startswith("/runs/") else "followStream"
    script = FOLLOWING.replace("FOLLOW(", f"{follow}(").replace("URL", url)
    return script.replace("OPTIONS", json.dumps(options))


class Site:
    """A server of runs and chats, whose items the test gives, and of the requests for them."""

    def __init__(self, runs: Runs) -> None:
        self.runs, self.chats = runs, Chats(runs)
        self.port, self.url = 0, ""
        self.script = ""  # of the pages that are opened next
        self.app = MODULES / "index.js"  # /app.js
        self.status = 200  # any other is what is answered instead of a run
        self.requests = 0  # for runs
        self.connections = 0  # that are open for runs
        self.stops = self.resumes = 0  # requests of chats
        self.feeds: dict[str, Feed] = {}  # of the newest answer of each chat
        self.answers = asyncio.Event()  # of what a tab asks for in vain
        self._asked: Counter[str] = Counter()
        self._transports: list[asyncio.Transport] = []
        self._followed: set[asyncio.Transport] = set()  # the transports of `connections`

    def cut(self) -> None:
        """Cut all connections."""
        for transport in self._transports:
            transport.abort()

    def end_responses(self) -> None:
        """End the responses with runs as if they were whole, as proxies do after a while."""
        for transport in self._followed:
            transport.write(b"0\r\n\r\n")  # the last chunk
            transport.close()

    async def start(self, run_id: str, *items: object) -> Feed:
        """Start a run, whose items the test gives."""
        feed = Feed(*items)
        answer = await self.runs.start(run_id, feed.source(), format="sse")
        await answer.body.aclose()
        return feed

    async def state(self, chat_id: str) -> tuple[int, str]:
        """Return how many questions were asked in a chat, and what has become of the newest."""
        state = await self.chats.state(chat_id)
        return (0, "nothing") if state is None else (self._asked[chat_id], state.status)

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Site]:
        """Serve it while the block runs."""
        app = web.Application(middlewares=[self._count])
        app.add_routes(
            [
                *chat_router(self.chats, self._answer, authorize=lambda *_: True),
                *(web.get("/", self._page), web.get("/app.js", self._app)),
                web.get("/worker.js", self._worker),
                web.static("/package", MODULES),
                web.get("/runs/{run_id}", self._run),
                web.get("/hang", self._hang),
                web.post("/feed/{chat_id}", self._feed),
                web.get("/state/{chat_id}", self._state),
            ]
        )
        async with TestServer(app, host="127.0.0.1") as server:
            self.port, self.url = server.port or 0, str(server.make_url("/"))
            yield self

    @web.middleware
    async def _count(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self.stops += request.path.endswith("/stop")
        self.resumes += request.path.endswith("/stream")
        assert request.transport is not None, "it is open"
        self._transports.append(request.transport)
        return await handler(request)

    async def _page(self, _: web.Request) -> web.Response:
        return web.Response(text=f"{HTML}{self.script}</script>", content_type="text/html")

    async def _worker(self, _: web.Request) -> web.Response:
        return web.Response(text=WORKER, content_type="text/javascript")

    async def _app(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self.app)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        self.requests += 1
        if self.status != 200:
            return web.Response(status=self.status)
        run_id = request.match_info["run_id"]
        response = await resume(request, self.runs, run_id, only_active=False)
        assert request.transport is not None, "it is open"
        self.connections += 1
        self._followed.add(request.transport)
        try:
            await response.prepare(request)
            await response.write_eof()
        finally:
            self.connections -= 1
            self._followed = {it for it in self._followed if not it.is_closing()}
        return response

    async def _hang(self, _: web.Request) -> web.Response:
        await self.answers.wait()
        return web.Response()

    def _answer(self, turn: Turn) -> AsyncGenerator[object]:
        self._asked[turn.chat_id] += 1
        feed = self.feeds[turn.chat_id] = Feed()
        return feed.source()

    async def _feed(self, request: web.Request) -> web.Response:
        feed = self.feeds.get(request.match_info["chat_id"])
        if feed is None:
            raise web.HTTPNotFound  # it has not been asked yet
        for item in await request.json():
            if item is None:
                feed.end()
            else:
                feed.give(item)
        return web.Response()

    async def _state(self, request: web.Request) -> web.Response:
        return web.json_response(await self.state(request.match_info["chat_id"]))


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[BrowserContext]:
    """Run a browser of whose tabs at most one is seen; the others can be frozen, as a user's.

    Without `no_defaults` each tab would count as seen and in use.
    """
    from playwright.async_api import async_playwright  # `make test` of this folder has none

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *(*CHROMIUM, "--remote-debugging-port=0", f"--user-data-dir={profile}", "about:blank"),
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None, "it is a pipe"
            output = await process.stderr.readuntil(b"devtools/browser/")
            output += await process.stderr.readline()
            (address,) = re.findall(rb"ws://\S+", output)
            async with async_playwright() as tool:
                browser = await tool.chromium.connect_over_cdp(address.decode(), no_defaults=True)
                yield browser.contexts[0]
        finally:
            process.terminate()
            await process.communicate()


class Tab:
    """A page of the site."""

    def __init__(self, page: Page, devtools: CDPSession) -> None:
        self.page = page
        self._devtools = devtools

    @classmethod
    async def open(cls, tabs: BrowserContext, site: Site, script: str, *, before: str = "") -> Tab:
        """Open a page that runs a script, and another one before anything else."""
        site.script = script
        page = await tabs.new_page()
        if before:
            await page.add_init_script(before)
        await page.goto(site.url)
        return cls(page, await tabs.new_cdp_session(page))

    async def enable_worker(self) -> None:
        """Load it anew, behind a service worker that passes on the requests of its site."""
        await self.page.evaluate(ENABLED)
        await self.page.reload()

    async def has(self, value: list[Any], name: str = "items") -> None:
        """Wait until a page that follows has received this, and nothing else."""
        receiving = self.page.evaluate(f"received('{name}', {len(value)})")
        try:
            received = await asyncio.wait_for(receiving, SERVER_PATIENCE_S)
        except TimeoutError:
            received = await self.page.evaluate(f"window.{name}")
        assert received == value, (name, received)

    async def shows(self, text: str) -> None:
        """Wait until this is all that it shows."""
        await self.page.wait_for_function(
            "(text) => document.body.innerText.trim() === text.trim()",
            arg=text,
            polling=20,
            timeout=1000 * SERVER_PATIENCE_S,
        )

    async def set_state(self, state: str) -> None:
        """Have it `frozen`, as a browser does with tabs in the background, or `active`."""
        await self._devtools.send("Page.setWebLifecycleState", {"state": state})

    async def hang(self) -> None:
        """Have it do nothing but wait, until the site answers."""
        await self.page.evaluate("""
            const request = new XMLHttpRequest();
            request.open("GET", "/hang", false);
            setTimeout(() => request.send());
        """)

    async def crash(self) -> None:
        """Kill its process."""
        async with self.page.expect_event("crash"):
            asking = asyncio.create_task(self._devtools.send("Page.crash"))
        asking.cancel()  # nobody answers any more
