"""The loops that pages print, where a service worker passes the requests of the page on.

Chromium then sends no `Last-Event-ID` when it connects an EventSource again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.clients.pages import STREAM, controlled, examples, holds, page_with, site
from tests.support.processes import headgate

if TYPE_CHECKING:
    from playwright.async_api import Browser

pytestmark = [
    pytest.mark.usefixtures("processes"),
    pytest.mark.timeout(180),  # pages wait for seconds before they connect again
    pytest.mark.asyncio(loop_scope="session"),
]

JSON = {"Content-Type": "application/json"}
CUT_OFTEN = {"HEADGATE_LIVE__SSE_MAX_AGE": "1"}
PAGES = ["docs/http.md", "docs/browsers.md", "docs/moving-from/mercure.md"]


@pytest.mark.parametrize("page", PAGES)
async def test_a_documented_loop_behind_a_service_worker_shows_each_message_once(
    browser: Browser, page: str
) -> None:
    (code,) = (it for it in examples(page) if "live=sse" in it)
    with headgate(environment=CUT_OFTEN) as server:
        stream = f"{server.streams}/s"
        async with (
            httpx.AsyncClient(verify=False) as http,
            site(empty="", page=page_with(STREAM.sub(stream, code))) as url,
            controlled(browser, url) as opened,
        ):
            await http.put(stream, headers=JSON)
            await http.post(stream, headers=JSON, content=b'["one"]')
            await opened.goto(f"{url}/page")
            await holds(opened, "connected >= 3")
            await http.post(stream, headers=JSON, content=b'["two"]')
            await holds(opened, "shown.length >= 2")
            await http.post(stream, headers={**JSON, "Stream-Closed": "true"})
            await holds(opened, "isClosed")
            assert await opened.evaluate("shown") == ["one", "two"]
