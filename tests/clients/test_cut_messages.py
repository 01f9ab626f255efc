"""The readers of views that pages print, where a cut comes amid a message or before a restart."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.clients.pages import STREAM, chromium, examples, holds, page_with
from tests.support.processes import NODE

if TYPE_CHECKING:
    from pathlib import Path

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


FETCHING = """
  const { fetchView } = await import(process.argv[1]);
  const response = await fetchView(process.argv[2]);
  for await (const text of response.body.pipeThrough(new TextDecoderStream())) {
    process.stdout.write(text);
  }
"""
BEGIN, REST = "data: one\nid: 5\n\n", "data: two\nid: 9~\n\n"


@pytest.mark.parametrize(
    ("answers", "shown", "is_whole"),
    [
        ([(200, BEGIN), (503, ""), (429, ""), (200, REST)], BEGIN + REST, True),
        ([(200, BEGIN), (410, "")], BEGIN, False),
    ],
    ids=["restarts", "gone"],
)
async def test_the_documented_fetch_of_a_view_takes_no_cut_answer_for_a_whole_one(
    tmp_path: Path, answers: list[tuple[int, str]], shown: str, is_whole: bool
) -> None:
    (code,) = (it for it in examples("docs/views.md") if "function fetchView" in it)
    module = tmp_path / "fetch_view.mjs"
    module.write_text(code)
    left = iter(answers)

    async def read(_: web.Request) -> web.Response:
        status, text = next(left)
        return web.Response(status=status, text=text, content_type="text/event-stream")

    app = web.Application()
    app.add_routes([web.get("/s", read)])
    async with TestServer(app, host="127.0.0.1") as server:
        process = await asyncio.create_subprocess_exec(
            *(NODE, "--input-type=module", "-e", FETCHING, module),
            f"http://127.0.0.1:{server.port}/s",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            output, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    assert output.decode() == shown
    assert (process.returncode == 0) == is_whole
