"""Tabs of one browser with equal requests that wait: none waits for the response to another one.

Chromium holds the second request back, because the response to the first might be cached.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headgate.chats import Chats
from headgate.runs import Runs
from headgate.web.aiohttp import chat_router
from tests.clients.pages import AROUND, STREAM, client_bundle, examples, holds
from tests.support.processes import ROOT, headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp.typedefs import Handler
    from playwright.async_api import Browser

    from headgate.chats import Turn
    from tests.support.processes import Headgate

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.asyncio(loop_scope="session")]

CHAT_PAGE = ROOT / "docs" / "examples" / "chat" / "page.html"
# Less than that for which Chromium holds a request back.
SOON_S = 10.0


@pytest.fixture
def client(processes: None, tmp_path: Path) -> Path:
    return client_bundle(tmp_path)


async def both_wait(http: httpx.AsyncClient, server: Headgate) -> bool:
    """Return whether two long-polls have reached the server."""
    metrics = (await http.get(f"{server.admin_url}/metrics")).text
    lines = [it for it in metrics.splitlines() if it.startswith("headgate_live_readers{")]
    return sum(float(it.split()[-1]) for it in lines if "long_poll" in it) == 2


async def test_two_tabs_with_the_documented_long_poll_both_wait_at_the_server(
    browser: Browser, client: Path
) -> None:
    (example,) = (it for it in examples("docs/browsers.md") if 'live: "long-poll"' in it)
    imports = '{"imports": {"@durable-streams/client": "/client.js"}}'
    with headgate() as server:
        url = f"{server.streams}/s"
        html = f"""{AROUND}<script type="importmap">{imports}</script>
            <script type="module">{STREAM.sub(url, example)}</script>"""

        async def page(_: web.Request) -> web.Response:
            return web.Response(text=html, content_type="text/html")

        async def script(_: web.Request) -> web.FileResponse:
            return web.FileResponse(client)

        application = web.Application()
        application.add_routes([web.get("/", page), web.get("/client.js", script)])
        async with (
            httpx.AsyncClient(verify=False) as http,
            TestServer(application, host="127.0.0.1") as site,
            await browser.new_context() as window,
        ):
            kind = {"Content-Type": "application/json"}
            await http.put(url, headers=kind, content=b'["one"]')
            tabs = [await window.new_page() for _ in range(2)]
            for tab in tabs:
                await tab.goto(str(site.make_url("/")))
                await holds(tab, "shown.length === 1")
            await until(lambda: both_wait(http, server), within_s=SOON_S)
            await http.post(url, headers=kind, content=b'["two"]')
            for tab in tabs:
                await holds(tab, "shown.length === 2")
                assert await tab.evaluate("shown") == ["one", "two"]


async def test_two_tabs_of_the_chat_page_both_wait_at_the_application_for_the_next_question(
    browser: Browser,
) -> None:
    waiting = 0

    @web.middleware
    async def count(request: web.Request, handler: Handler) -> web.StreamResponse:
        nonlocal waiting
        waits = "wait" in request.query
        waiting += waits
        try:
            return await handler(request)
        finally:
            waiting -= waits

    async def page(_: web.Request) -> web.FileResponse:
        return web.FileResponse(CHAT_PAGE)

    async def answer(_: Turn) -> AsyncIterator[str]:
        yield "Once upon a time"

    with headgate() as server:
        async with Runs(f"{server.streams}/chats") as runs:
            application = web.Application(middlewares=[count])
            router = chat_router(Chats(runs), answer, authorize=lambda *_: True)
            application.add_routes([*router, web.get("/chats/{id}", page)])
            async with (
                TestServer(application, host="127.0.0.1") as site,
                await browser.new_context() as window,
            ):
                for _ in range(2):
                    tab = await window.new_page()
                    await tab.goto(str(site.make_url("/chats/one")))
                await until(lambda: waiting == 2, within_s=SOON_S)
