"""The loops of views that pages print, where a cut comes between two events of one message."""

from __future__ import annotations

import json

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.clients.pages import STREAM, chromium, examples, holds, page_with

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(60)]

# How a page sends "one" and "two", of which the second event alone has an id.
DATA = {
    "docs/views.md": ("one", "two"),
    "docs/resumable-in-one-line.md": tuple(
        json.dumps({"type": "text-delta", "delta": word}) for word in ("one", "two")
    ),
}
END = "event: end\ndata:\n\ndata: [DONE]\nid: 9~\n\n"


@pytest.mark.parametrize("page", DATA)
async def test_a_documented_loop_of_a_view_shows_no_event_of_a_cut_message_twice(
    page: str,
) -> None:
    (code,) = (it for it in examples(page) if it.startswith("let offset"))
    first, second = (f"data: {data}\n" for data in DATA[page])
    answers = [f"{first}\n", f"{first}\n{second}id: 5\n\n{END}"]
    offsets: list[str] = []

    async def read(request: web.Request) -> web.Response:
        offsets.append(request.query["offset"])
        return web.Response(text=answers[len(offsets) - 1], content_type="text/event-stream")

    async def show(_: web.Request) -> web.Response:
        path = "/v1/stream/s"
        html = page_with(f'const streamUrl = "{path}";\n{STREAM.sub(path, code)}')
        return web.Response(text=html, content_type="text/html")

    app = web.Application()
    app.add_routes([web.get("/", show), web.get("/v1/stream/s", read)])
    async with TestServer(app, host="127.0.0.1") as server, chromium() as browser:
        opened = await browser.new_page()
        await opened.goto(f"http://127.0.0.1:{server.port}/")
        await holds(opened, "opened.length === 2 && opened[1].readyState === 2")
        assert await opened.evaluate("shown") == ["one", "two"]
    assert offsets == ["-1", "-1"]
