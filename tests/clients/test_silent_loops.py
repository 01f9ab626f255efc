"""The loops that pages print, on a path that keeps the connection and carries nothing more."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headgate.runs import Runs
from headgate.web.aiohttp import resume
from tests.client.runs.sources import Feed
from tests.clients.pages import STREAM, examples, holds, page_with, site
from tests.models.answers import WORDS, chat_completion
from tests.support.processes import NODE, headgate
from tests.support.silent_relay import SilentRelay

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser, Page

pytestmark = [
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(180),
    pytest.mark.asyncio(loop_scope="session"),
]

JSON = {"Content-Type": "application/json"}
EVENTS = {"Content-Type": "text/event-stream"}
PAGES = ["docs/http.md", "docs/browsers.md", "docs/moving-from/mercure.md"]
VIEWS = ["docs/views.md", "docs/resumable-in-one-line.md"]
STALE_MS, PAUSE_MS = 91_000, 4_000  # of a loop, and before it opens another connection


FETCHING = """
  const { fetchView } = await import(process.argv[1]);
  const response = await fetchView(process.argv[2]);
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    console.log(JSON.stringify(text));
  }
"""


async def goes_on(page: Page, relay: SilentRelay) -> None:
    """Have so much time go by in a page that its loop opens another connection."""
    accepted = relay.accepted
    await page.clock.fast_forward(STALE_MS)
    await page.clock.fast_forward(PAUSE_MS)
    await holds(page, "opened.length >= 2")
    assert relay.accepted == accepted + 1


@pytest.mark.parametrize("page", PAGES)
async def test_a_documented_loop_on_a_silent_path_continues_at_its_offset(
    browser: Browser, page: str
) -> None:
    (code,) = (it for it in examples(page) if "live=sse" in it)
    with headgate() as server:
        stream = f"{server.streams}/s"
        async with (
            SilentRelay(server.port) as relay,
            httpx.AsyncClient(verify=False) as http,
            site(
                page=page_with(STREAM.sub(f"http://127.0.0.1:{relay.port}/v1/stream/s", code))
            ) as url,
        ):
            await http.put(stream, headers=JSON)
            await http.post(stream, headers=JSON, content=b'["one"]')
            opened = await browser.new_page()
            await opened.clock.install()
            await opened.goto(f"{url}/page")
            await holds(opened, "shown.length === 1")
            relay.silence()
            await http.post(stream, headers=JSON, content=b'["two"]')
            await goes_on(opened, relay)
            await holds(opened, "shown.length >= 2")
            await http.post(stream, headers={**JSON, "Stream-Closed": "true"})
            await holds(opened, "isClosed")
            await opened.clock.fast_forward(STALE_MS)  # nothing is opened any more
            assert await opened.evaluate("[shown, opened.length]") == [["one", "two"], 2]
            await opened.close()


@pytest.mark.parametrize("page", VIEWS)
async def test_a_documented_loop_of_a_view_continues_on_a_silent_path(
    browser: Browser, page: str
) -> None:
    (code,) = (it for it in examples(page) if it.startswith("let offset"))
    records = chat_completion()
    data = [record.decode()[6:-2] for record in records]
    with headgate() as server:
        stream = f"{server.streams}/s"
        async with SilentRelay(server.port) as relay, httpx.AsyncClient(verify=False) as http:
            behind = f"http://127.0.0.1:{relay.port}/v1/stream/s"
            html = page_with(f'const streamUrl = "{behind}";\n{STREAM.sub(behind, code)}')
            async with site(page=html) as url:
                await http.put(stream, headers=EVENTS)
                await http.post(stream, headers=EVENTS, content=b"".join(records[:3]))
                opened = await browser.new_page()
                await opened.clock.install()
                await opened.goto(f"{url}/page")
                await holds(opened, "shown.length >= 1")
                relay.silence()
                before = await opened.evaluate("shown.length")
                await http.post(
                    stream,
                    headers={**EVENTS, "Stream-Closed": "true"},
                    content=b"".join(records[3:]),
                )
                await goes_on(opened, relay)
                await holds(opened, f"shown.length > {before} && opened.at(-1).readyState === 2")
                shown = await opened.evaluate("shown")
                assert shown == data or "".join(shown) == "".join(WORDS)
                await opened.clock.fast_forward(STALE_MS)
                assert await opened.evaluate("opened.length") == 2
                await opened.close()


async def test_the_documented_fetch_of_a_view_continues_on_a_silent_path(tmp_path: Path) -> None:
    (code,) = (it for it in examples("docs/views.md") if "function fetchView" in it)
    module = tmp_path / "fetch_view.mjs"
    module.write_text(code.replace("90_000", "1_000"))
    records = chat_completion()
    with headgate() as server:
        stream = f"{server.streams}/s"
        async with SilentRelay(server.port) as relay, httpx.AsyncClient(verify=False) as http:
            await http.put(stream, headers=EVENTS)
            await http.post(stream, headers=EVENTS, content=b"".join(records[:3]))
            url = f"http://127.0.0.1:{relay.port}/v1/stream/s?view=ai-sdk"
            process = await asyncio.create_subprocess_exec(
                *(NODE, "--input-type=module", "-e", FETCHING, module, url),
                stdout=asyncio.subprocess.PIPE,
            )
            try:
                assert process.stdout is not None, "it is a pipe"
                read = [await process.stdout.readline()]
                relay.silence()
                ends = {**EVENTS, "Stream-Closed": "true"}
                await http.post(stream, headers=ends, content=b"".join(records[3:]))
                read += [line async for line in process.stdout]
                assert await process.wait() == 0
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
    data = [block.partition("data: ")[2] for block in "".join(map(json.loads, read)).split("\n\n")]
    chunks = [json.loads(one) for one in data if one.startswith("{")]
    assert "".join(one.get("delta", "") for one in chunks) == "".join(WORDS)
    assert [one["type"] for one in chunks][-1] == "finish"


async def test_the_documented_loop_of_a_run_continues_on_a_silent_path(browser: Browser) -> None:
    (code,) = (it for it in examples("docs/client/runs.md") if "new EventSource" in it)
    with headgate() as server:
        async with Runs(f"{server.streams}/runs") as runs:
            feed = Feed("one")

            async def ask(_: web.Request) -> web.Response:
                answer = await runs.start("one", feed.source(), format="sse")
                await answer.body.aclose()
                return web.Response()

            async def read(request: web.Request) -> web.StreamResponse:
                return await resume(request, runs, "one", only_active=False)

            async def page(_: web.Request) -> web.Response:
                return web.Response(text=page_with(code), content_type="text/html")

            app = web.Application()
            app.add_routes(
                [web.get("/", page), web.post("/runs/one", ask), web.get("/runs/one", read)]
            )
            async with (
                TestServer(app, host="127.0.0.1") as application,
                SilentRelay(application.port or 0) as relay,
            ):
                opened = await browser.new_page()
                await opened.clock.install()
                await opened.goto(f"http://127.0.0.1:{relay.port}/")
                await holds(opened, "shown.length === 1")
                relay.silence()
                feed.give("two")
                await opened.clock.fast_forward(STALE_MS)
                await opened.clock.fast_forward(PAUSE_MS)
                await opened.clock.fast_forward(
                    STALE_MS
                )  # a connection that was kept is silent, too
                await opened.clock.fast_forward(PAUSE_MS)
                await holds(opened, "shown.length === 2")
                feed.end()
                await holds(opened, "ends.length === 1")
                assert await opened.evaluate("[shown, ends]") == [["one", "two"], ["finished"]]
                await opened.close()
