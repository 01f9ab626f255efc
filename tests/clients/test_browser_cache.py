"""The official client in a browser, whose own cache keeps what answers allow."""

from __future__ import annotations

import contextlib
import subprocess
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from tests.support.examples import cases
from tests.support.origin_servers import reference
from tests.support.processes import NODE, ROOT, headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser, Page

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.asyncio(loop_scope="session")]

PAGE = ROOT / "tests" / "clients" / "two_reads_page.html"
MODULES = ROOT / "tests" / "node" / "node_modules"
TEXT = {"Content-Type": "text/plain"}


@pytest.fixture(scope="module")
def client(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The official client as one module, as pages have it."""
    bundle = tmp_path_factory.mktemp("client") / "client.js"
    source = MODULES / "@durable-streams" / "client" / "dist" / "index.js"
    bundler = MODULES / ".bin" / "rolldown"
    command = [NODE, bundler, source, "--platform", "browser", "--file", bundle]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)
    return bundle


@pytest.fixture(params=cases(["file", "reference"], {"reference"}, "a log through a gateway"))
def streams(processes: None, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    with contextlib.ExitStack() as stack:
        origin = f"file:{tmp_path}"
        if request.param == "reference":
            origin = stack.enter_context(reference()).url
        yield stack.enter_context(headgate(origin)).streams


@contextlib.asynccontextmanager
async def page(browser: Browser, client: Path) -> AsyncIterator[Page]:
    """A page of another origin than the streams, in a window with an empty cache."""

    async def shown(_: web.Request) -> web.FileResponse:
        return web.FileResponse(PAGE)

    async def script(_: web.Request) -> web.FileResponse:
        return web.FileResponse(client)

    application = web.Application()
    application.add_routes([web.get("/", shown), web.get("/client.js", script)])
    async with (
        TestServer(application, host="127.0.0.1") as server,
        await browser.new_context() as window,
    ):
        opened = await window.new_page()
        await opened.goto(str(server.make_url("/")))
        await opened.wait_for_function("window.readAll !== undefined")
        yield opened


async def read(page: Page, url: str, offset: str = "-1") -> dict[str, Any]:
    told: dict[str, Any] = await page.evaluate(
        "([url, offset]) => window.readAll(url, offset)", [url, offset]
    )
    return told


async def test_a_browser_read_repeated_after_an_append_has_the_appended_data(
    browser: Browser, client: Path, streams: str
) -> None:
    url = f"{streams}/s"
    async with httpx.AsyncClient(verify=False) as writer, page(browser, client) as reader:
        made = await writer.put(url, headers=TEXT, content="one")
        begin = made.headers["Stream-Next-Offset"]
        for offset, before in (("-1", "one"), (begin, "")):
            first = await read(reader, url, offset)
            assert (first["text"][: len(before)], first["upToDate"]) == (before, True)
        await writer.post(url, headers=TEXT, content=" two")
        for offset, text in (("-1", "one two"), (begin, " two")):
            again = await read(reader, url, offset)
            assert (again["text"], again["upToDate"]) == (text, True)


async def test_a_chunk_revalidated_by_a_browser_after_growth_is_not_up_to_date(
    browser: Browser, client: Path, tmp_path: Path
) -> None:
    """A whole chunk at the tail has the same bytes later, when there is more."""
    with headgate(f"file:{tmp_path}") as server:
        url = f"{server.streams}/s"
        async with httpx.AsyncClient(verify=False) as writer, page(browser, client) as reader:
            await writer.put(url, headers=TEXT, content="x" * CHUNK_BYTES)
            for more in ("", "more"):
                if more:
                    await writer.post(url, headers=TEXT, content=more)
                whole = await read(reader, url)
                assert len(whole["text"]) == CHUNK_BYTES
                assert whole["upToDate"] is (not more)
