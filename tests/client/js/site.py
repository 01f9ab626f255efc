"""An application whose pages follow runs with the npm package, and the tabs of one browser."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.test_utils import TestServer
from headgate.web.aiohttp import resume

from tests.client.js.chat_site import ChatSite
from tests.client.runs.sources import Feed
from tests.support.processes import ROOT
from tests.support.waiting import SERVER_PATIENCE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate.runs import Runs
    from playwright.async_api import BrowserContext, CDPSession, Page

MODULES = ROOT / "client" / "js" / "dist" / "esm"
BEGINNING = """<!doctype html>
<body></body>
<script type="importmap">{"imports": {"headgate-client": "/package/index.js"}}</script>
<script type="module">
"""
PAGE = """
  import {{ followRun }} from "headgate-client";
  const waiting = [];
  const tell = (name, what) => {{
    window[name].push(what);
    waiting.splice(0).forEach((told) => told());
  }};
  window.toldOf = async (name, count) => {{
    while (window[name].length < count) await new Promise((told) => waiting.push(told));
    return window[name];
  }};
  window.cursors = [];
  window.items = [];
  window.ends = [];
  window.refusals = [];
  window.followed = followRun("/runs/{run}", {{
    ...{options},
    onItem: (item, cursor) => {{ cursors.push(cursor); tell("items", item); }},
    onEnd: (end) => tell("ends", end),
    onError: ({{ message, status }}) => tell("refusals", [status, message]),
  }});
"""


class Site:
    """Runs, the page of each, and how many requests for them there are and have been."""

    def __init__(self, runs: Runs) -> None:
        self.runs = runs
        self.url = ""
        self.options: dict[str, Any] = {}  # of the pages that are opened next
        self.script = ""  # what these pages run instead of following a run
        self.status = 200  # any other is what is answered instead of a run
        self._open: list[asyncio.Transport] = []  # for runs
        self.requests: list[str] = []  # the cursor of each
        self.said: list[str] = []
        self.chat = ChatSite(runs)
        self.app = MODULES  # the script of /app
        self.answers = asyncio.Event()  # of what a tab asks for in vain

    @property
    def connections(self) -> int:
        """How many are open for runs."""
        return len(self._open)

    def cut(self) -> None:
        """Cut these."""
        for transport in self._open:
            transport.abort()

    async def start(self, run: str) -> Feed:
        """Start a run, whose items the test gives."""
        feed = Feed()
        answer = await self.runs.start(run, feed.source(), format="sse")
        await answer.body.aclose()
        return feed

    @contextlib.asynccontextmanager
    async def served(self) -> AsyncIterator[Site]:
        """Serve it while the block runs."""
        app = self.chat.application()
        app.add_routes(
            [
                web.get("/", self._page),
                web.get("/app", self._app),
                web.get("/app.js", self._app_script),
                web.static("/package", MODULES),
                web.get("/runs/{run}", self._run),
                web.post("/say", self._say),
                web.get("/hang", self._hang),
            ]
        )
        async with TestServer(app, host="127.0.0.1") as server:
            self.url = str(server.make_url("/"))
            yield self

    async def _page(self, request: web.Request) -> web.Response:
        script = self.script or PAGE.format(
            run=request.query["run"], options=json.dumps(self.options)
        )
        return web.Response(text=f"{BEGINNING}{script}</script>", content_type="text/html")

    async def _app(self, _: web.Request) -> web.Response:
        page = '<!doctype html><body></body><script type="module" src="/app.js"></script>'
        return web.Response(text=page, content_type="text/html")

    async def _app_script(self, _: web.Request) -> web.FileResponse:
        return web.FileResponse(self.app)

    async def _run(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(
            request.headers.get("Last-Event-ID", "") or request.query.get("after", "")
        )
        if self.status != 200:
            return web.Response(status=self.status)
        assert request.transport is not None, "it is open"
        self._open.append(transport := request.transport)
        try:
            return await resume(request, self.runs, request.match_info["run"], only_active=False)
        finally:
            self._open.remove(transport)

    async def _say(self, request: web.Request) -> web.Response:
        self.said.append(await request.text())
        return web.Response()

    async def _hang(self, _: web.Request) -> web.Response:
        await self.answers.wait()
        return web.Response()


class Tab:
    """A page that follows a run, and what it has been told."""

    def __init__(self, page: Page, devtools: CDPSession) -> None:
        self.page = page
        self._devtools = devtools

    @classmethod
    async def open(cls, tabs: BrowserContext, site: Site, run: str, before: str = "") -> Tab:
        """Open a page that follows a run, and runs a script before anything else."""
        page = await tabs.new_page()
        if before:
            await page.add_init_script(before)
        await page.goto(f"{site.url}?run={run}")
        return cls(page, await tabs.new_cdp_session(page))

    async def told(self, name: str = "items") -> Any:
        return await self.page.evaluate(f"window.{name}")

    async def has(self, value: list[Any], name: str = "items") -> None:
        """Wait until it is told this, and nothing else."""
        telling = self.page.evaluate(f"toldOf('{name}', {len(value)})")
        try:
            told = await asyncio.wait_for(telling, SERVER_PATIENCE_S)
        except TimeoutError:
            told = await self.told(name)
        assert told == value

    async def post(self, words: str) -> int:
        """Return the status of a POST of its own."""
        asked = "async (body) => (await fetch('/say', { method: 'POST', body })).status"
        return int(await self.page.evaluate(asked, words))

    async def freeze(self) -> None:
        """Have it run nothing any more, as a browser does with tabs in the background."""
        await self._devtools.send("Page.setWebLifecycleState", {"state": "frozen"})

    async def thaw(self) -> None:
        await self._devtools.send("Page.setWebLifecycleState", {"state": "active"})

    async def hang(self) -> None:
        """Have it do nothing but wait, until the site answers."""
        script = """
            const request = new XMLHttpRequest();
            request.open("GET", "/hang", false);
            setTimeout(() => request.send());
        """
        await self.page.evaluate(script)

    async def crash(self) -> None:
        """Kill its process."""
        async with self.page.expect_event("crash"):
            asking = asyncio.create_task(self._devtools.send("Page.crash"))
        asking.cancel()  # nobody answers any more
