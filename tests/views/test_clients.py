"""Clients that read views as docs/views.md says, through cuts and up to the end."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.views import route_views
from tests.clients.pages import (
    STREAM,
    chromium,
    controlled,
    examples,
    holds,
    page_with,
    site,
)
from tests.models.answers import WORDS, chat_completion
from tests.support.processes import NODE, ROOT
from tests.support.serving import PREFIX, post, serving
from tests.support.waiting import until
from tests.views.reading import EVENTS, close, written

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.serving import Serving

pytestmark = pytest.mark.usefixtures("processes")

PROGRAM = ROOT / "tests" / "node" / "view_clients.mjs"
TEXT = "".join(WORDS)
PATIENCE_S = 50.0


def url_of(gateway: Serving) -> str:
    return f"http://127.0.0.1:{gateway.port}{PREFIX}/s"


def example(beginning: str) -> str:
    """Return the example of the page that begins so."""
    return next(it for it in examples("docs/views.md") if it.startswith(beginning))


@pytest.fixture
def brief_responses(monkeypatch: pytest.MonkeyPatch) -> None:
    """End each response after a while, as platforms do."""
    monkeypatch.setattr(route_views, "LONGEST_S", 0.3)


async def ended(gateway: Serving, count: int) -> None:
    """Wait until so many responses have been ended."""
    departures = gateway.route.traffic.live.sse.departures
    await until(lambda: departures["timeout"] >= count)


async def write_between_cuts(gateway: Serving, records: list[bytes], readers: int) -> None:
    """Append records in two parts, each after the responses of all readers have been ended."""
    middle = len(records) // 2
    for number, part in enumerate((records[:middle], records[middle:]), 1):
        await ended(gateway, number * readers)
        for record in part:
            await gateway.ask(post("s", record, content_type=EVENTS))
    await close(gateway)


@pytest.mark.usefixtures("brief_responses")
async def test_the_documented_clients_read_an_answer_whose_responses_are_cut(
    tmp_path: Path,
) -> None:
    module = tmp_path / "fetch_view.mjs"
    module.write_text(example("export async function fetchView"))
    records = chat_completion()
    async with serving() as gateway:
        await written(gateway, records[:3], closed=False)
        pipe = asyncio.subprocess.PIPE
        command = NODE, "--experimental-eventsource", PROGRAM, module, url_of(gateway)
        process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
        try:
            async with asyncio.timeout(PATIENCE_S):
                _, (out, errors) = await asyncio.gather(
                    write_between_cuts(gateway, records[3:], 3), process.communicate()
                )
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode == 0, errors.decode()
    message, messages, data = json.loads(out)
    said = [part["text"] for part in message["parts"] if part["type"] == "text"]
    assert "".join(said) == TEXT
    assert [one["content"] for one in messages if one["role"] == "assistant"] == [TEXT]
    assert data == [record.decode()[6:-2] for record in records]


@pytest.mark.usefixtures("brief_responses")
@pytest.mark.parametrize("page", ["docs/views.md", "docs/resumable-in-one-line.md"])
async def test_a_documented_loop_behind_a_service_worker_reads_an_answer_through_cuts(
    page: str,
) -> None:
    records = chat_completion()
    (code,) = (it for it in examples(page) if it.startswith("let offset"))
    async with serving() as gateway, chromium() as browser:
        url = url_of(gateway)
        html = page_with(f'const streamUrl = "{url}";\n{STREAM.sub(url, code)}')
        await written(gateway, records[:3], closed=False)
        async with site(empty="", page=html) as pages, controlled(browser, pages) as opened:
            await opened.goto(f"{pages}/page")
            await write_between_cuts(gateway, records[3:], 1)
            data = [record.decode()[6:-2] for record in records]
            await holds(
                opened,
                f"""
                shown.at(-1) === {json.dumps(data[-1])} || shown.join("") === {json.dumps(TEXT)}
            """,
            )
            shown = await opened.evaluate("shown")
    assert shown == data or "".join(shown) == TEXT


async def test_a_browser_that_does_not_close_at_the_end_is_stopped_by_204() -> None:
    async with serving() as gateway, chromium() as browser:
        await written(gateway, [b"data: one\n\n"])
        page = await browser.new_page()
        stopped = """(url) => new Promise((done) => {
          const shown = [], events = new EventSource(url);
          events.onmessage = (event) => shown.push(event.data);
          events.onerror = () => { if (events.readyState === 2) done(shown); };
        })"""
        assert await page.evaluate(stopped, f"{url_of(gateway)}?view=sse") == ["one"]
