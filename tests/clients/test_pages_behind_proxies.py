"""The examples for pages in browsers, and the behaviour of proxies that they have to handle."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import pytest_asyncio
import uvicorn

from tests.clients.pages import examples, holds, nginx, page_with, site
from tests.support.ports import free_port
from tests.support.processes import Headgate, headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from playwright.async_api import Browser, BrowserContext, Page

pytestmark = [
    pytest.mark.timeout(180),  # a browser waits for seconds before it connects again
    pytest.mark.asyncio(loop_scope="session"),
]

PRINTED = "http://127.0.0.1:4437/v1/stream"
JSON = {"Content-Type": "application/json"}
TEXT = {"Content-Type": "text/plain"}
CONNECTING, OPEN, CLOSED = range(3)
MOST = 6  # connections of HTTP/1.1 that a browser has to one host

OPENING = """(url) => {
  window.failed = window.received = 0;
  window.source = new EventSource(url);
  window.source.addEventListener("data", () => { window.received += 1; });
  window.source.onerror = () => { window.failed += 1; };
}"""
POSTING = """async (url) => {
  window.posted = null;
  fetch(url, { method: "POST" }).then((answer) => { window.posted = answer.status; });
}"""


@pytest_asyncio.fixture(loop_scope="session")
async def window(browser: Browser) -> AsyncIterator[BrowserContext]:
    async with await browser.new_context() as opened:
        yield opened


def of_stream(page: str) -> str:
    """Return the example of a page that follows a stream."""
    (found,) = [one for one in examples(page) if "live=sse" in one]
    return found


async def value(page: Page, expression: str) -> Any:
    return await page.evaluate(expression)


@pytest.mark.usefixtures("processes")
async def test_the_documented_event_source_examples_resume_after_a_502(
    tmp_path: Path, window: BrowserContext
) -> None:
    port, upstream = free_port(), free_port()
    server = Headgate(f"file:{tmp_path / 'log'}", port=upstream)
    here = f"http://127.0.0.1:{port}/v1/stream"
    code = {
        name: page_with(of_stream(name).replace(PRINTED, here))
        for name in ("docs/http.md", "docs/browsers.md")
    }
    with (
        contextlib.closing(server),
        nginx(tmp_path, port=port, tls_port=free_port(), upstream=upstream),
    ):
        server.start()
        async with (
            httpx.AsyncClient(base_url=here, verify=False) as writer,
            site(http=code["docs/http.md"], browsers=code["docs/browsers.md"]) as url,
        ):
            await writer.put("/chat", headers=JSON)
            await writer.post("/chat", headers=JSON, content=b'["one"]')
            pages = [await window.new_page() for _ in code]
            for page, name in zip(pages, ("http", "browsers"), strict=True):
                await page.goto(f"{url}/{name}")
                await holds(page, "shown.length === 1")
            server.terminate()
            for page in pages:
                await holds(page, f"opened[0].readyState === {CLOSED}")
            assert (await writer.get("/chat")).status_code == 502
            server.start()
            await writer.post("/chat", headers=JSON, content=b'["two"]')
            for page in pages:
                await holds(page, "shown.length >= 2")
                assert await value(page, "shown") == ["one", "two"]
            await writer.post("/chat", headers={**JSON, "Stream-Closed": "true"})
            for page in pages:
                await holds(page, f"opened.at(-1).readyState === {CLOSED}")


@pytest.mark.usefixtures("processes")
async def test_the_documented_example_with_statuses_stops_after_a_404(
    window: BrowserContext,
) -> None:
    with headgate() as server:
        code = of_stream("docs/browsers.md").replace(PRINTED, server.streams)
        async with (
            httpx.AsyncClient(base_url=server.streams, verify=False) as writer,
            site(page=page_with(code)) as url,
        ):
            await writer.put("/chat", headers=JSON)
            await writer.post("/chat", headers=JSON, content=b'["one"]')
            page = await window.new_page()
            await page.goto(f"{url}/page")
            await holds(page, "shown.length === 1")
            await writer.delete("/chat")
            await holds(page, "ends.length === 1")
            assert await value(page, "ends") == [404]
            assert await value(page, "shown") == ["one"]


@contextlib.asynccontextmanager
async def serving(app: Any, port: int) -> AsyncIterator[None]:
    """Serve an application, whose runs go on when the block ends, on this port."""
    server = uvicorn.Server(
        uvicorn.Config(app, port=port, lifespan="off", log_config=None, ws="none")
    )
    serving = asyncio.create_task(server.serve())
    try:
        await until(lambda: server.started)
        yield
    finally:
        server.should_exit = server.force_exit = True
        await serving
        for connection in [*server.server_state.connections]:
            connection.transport.abort()  # as the end of its process would


@pytest.mark.usefixtures("processes")
async def test_the_documented_example_of_a_run_resumes_after_a_502(
    tmp_path: Path, window: BrowserContext
) -> None:
    goes_on = asyncio.Event()

    async def produce(question: str) -> AsyncIterator[str]:
        yield f"You asked: {question}"
        await goes_on.wait()
        yield "Because."

    (python,) = [one for one in examples("docs/client/runs.md", "python") if "@app.get" in one]
    (script,) = [one for one in examples("docs/client/runs.md") if "/runs/" in one]
    names: dict[str, Any] = {"produce": produce}
    port, upstream = free_port(), free_port()
    with headgate() as server, nginx(tmp_path, port=port, tls_port=free_port(), upstream=upstream):
        exec(python.replace(PRINTED, server.streams), names)

        async def page_of_run() -> Any:
            return names["fastapi"].responses.HTMLResponse(page_with(script))

        names["app"].add_api_route("/", page_of_run)
        async with names["lifespan"](names["app"]):
            page = await window.new_page()
            async with serving(names["app"], upstream):
                await page.goto(f"http://127.0.0.1:{port}/")
                await holds(page, "shown.length === 1")
            await holds(page, f"opened[0].readyState === {CLOSED}")
            goes_on.set()
            async with serving(names["app"], upstream):
                await holds(page, "ends.length === 1")
                assert await value(page, "shown") == ["You asked: why?", "Because."]
                assert await value(page, "ends") == ["finished"]


@pytest.mark.torture("the same tabs by HTTP/2, below")
async def test_with_http1_a_seventh_tab_waits_without_an_error_and_all_posts_hang(
    browser: Browser,
) -> None:
    with headgate(environment={"HEADGATE_LIVE__SSE_MAX_AGE": "600"}) as server:
        async with tabs(browser, server, server.url, {}) as (pages, url):
            *six, seventh = pages
            for page in six:
                await page.evaluate(OPENING, url)
                await holds(page, f"source.readyState === {OPEN}")
            await seventh.evaluate(OPENING, url)
            for page in pages:
                await page.evaluate(POSTING, url)
            # What does not come is known by what comes meanwhile: a later message, to the six.
            async with httpx.AsyncClient(verify=False) as writer:
                await writer.post(url.partition("?")[0], content=b"two", headers=TEXT)
            for page in six:
                await holds(page, "received === 2")
            states = [await value(page, "[source.readyState, failed, posted]") for page in pages]
            assert states == [[OPEN, 0, None]] * MOST + [[CONNECTING, 0, None]]
            await six[0].evaluate("source.close()")
            await holds(seventh, f"posted !== null || source.readyState === {OPEN}")


@pytest.mark.torture("the tabs of tests/client/js/test_follow.py, and HTTP/2 in test_tls.py")
async def test_with_http2_many_tabs_follow_and_their_posts_are_answered(
    tmp_path: Path, browser: Browser
) -> None:
    tls_port = free_port()
    with (
        headgate() as server,
        nginx(tmp_path, port=free_port(), tls_port=tls_port, upstream=server.port),
    ):
        async with tabs(
            browser, server, f"https://127.0.0.1:{tls_port}", {"ignore_https_errors": True}
        ) as (
            pages,
            url,
        ):
            for page in pages:
                await page.evaluate(OPENING, url)
            for page in pages:
                await holds(page, f"source.readyState === {OPEN}")
                await page.evaluate(POSTING, url)
                await holds(page, "posted !== null")


@contextlib.asynccontextmanager
async def tabs(
    browser: Browser, server: Headgate, base: str, options: dict[str, Any]
) -> AsyncIterator[tuple[list[Page], str]]:
    """Open a tab more than a browser has connections, on pages of the host of the streams."""
    async with httpx.AsyncClient(verify=False) as writer:
        await writer.put(f"{server.streams}/chat", headers=TEXT, content=b"one")
    async with await browser.new_context(bypass_csp=True, **options) as context:
        pages = [await context.new_page() for _ in range(MOST + 1)]
        for page in pages:
            await page.goto(f"{base}/")
        yield pages, f"{base}/v1/stream/chat?offset=-1&live=sse"
