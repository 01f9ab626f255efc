"""Take the pictures of docs/img from a real server: `python -m scripts.pictures [FOLDER]`.

Without a folder, the pictures that pages show are made anew. With one, every page of the console is
taken there as well, light and dark, wide and narrow, to be looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import aiohttp

from tests.client.chat.example import ChatTab, example, told
from tests.clients.pages import chromium
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

IMAGES = Path(__file__).parents[1] / "docs" / "img"
SHOWN = "overview"
TRAFFIC_S = 90  # the charts show a quarter of an hour, of which this is a tenth
READERS = 24  # of each stream
STREAM = "route=/v1/orders&name=berlin"
PAGES = {
    SHOWN: "/",
    "routes": "/routes",
    "streams": "/streams?route=/v1/orders",
    "stream": f"/streams/one?{STREAM}",
    "stream-readers": f"/streams/one?{STREAM}&tab=readers",
    "readers": "/clients",
    "events": "/events",
    "refusals": "/events?show=refusals",
    "gateways": "/gateways",
    "explain": "/caches?target=/v1/orders/berlin?offset=-1",
    "cdn": "/caches/cdn?target=nginx&host=streams.example.com",
    "configuration": "/configuration",
    "alerts": "/alerts",
}
SHOWN_KIND = "light"
KINDS: dict[str, tuple[Literal["light", "dark"], int, int]] = {
    SHOWN_KIND: ("light", 1440, 900),
    "dark": ("dark", 1440, 900),
    "light-1280": ("light", 1280, 900),
    "dark-1280": ("dark", 1280, 900),
    "light-768": ("light", 768, 1024),
    "dark-768": ("dark", 768, 1024),
    "light-390": ("light", 390, 844),
    "dark-390": ("dark", 390, 844),
}
NAMES = {
    "/v1/orders": ("berlin", "lisbon", "oslo"),
    "/v1/answers": ("weekend-in-porto", "invoice-2291", "recipe-for-four"),
}
STATUSES = ("packed", "sent", "paid", "returned")
JSON = {"Content-Type": "application/json"}


@contextlib.asynccontextmanager
async def busy_gateway() -> AsyncIterator[str]:
    """Yield the address of the console of a gateway that has writers and readers."""
    with tempfile.TemporaryDirectory() as folder:
        origin = Headgate(f"file:{folder}/origin")
        gateway = Headgate("memory:")
        gateway.serve_routes(
            {"prefix": "/v1/orders", "origin": f"{origin.url}/v1/stream/orders"},
            {"prefix": "/v1/answers", "storage": f"file:{folder}/answers"},
        )
        with contextlib.closing(origin.start()), contextlib.closing(gateway.start()):
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(gateway.url, connector=connector) as session:
                streams = [f"{route}/{name}" for route, names in NAMES.items() for name in names]
                for stream in streams:
                    await (await session.put(stream, headers=JSON)).read()
                tasks = [asyncio.create_task(write(session, stream)) for stream in streams]
                tasks += [asyncio.create_task(reload(session, stream)) for stream in streams]
                for number, stream in enumerate(streams * READERS):
                    after_s = number / len(streams) / READERS * TRAFFIC_S
                    tasks.append(asyncio.create_task(follow(session, stream, after_s)))
                await asyncio.sleep(TRAFFIC_S)
                yield gateway.admin_url
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)


async def write(session: aiohttp.ClientSession, stream: str) -> None:
    """Append a few messages a second."""
    for number in itertools.count(1):
        message = json.dumps({"number": number, "status": STATUSES[number % len(STATUSES)]})
        async with session.post(stream, data=message, headers=JSON) as answer:
            await answer.read()
        await asyncio.sleep(0.5 + number % 7 / 5)


async def reload(session: aiohttp.ClientSession, stream: str) -> None:
    """Read the history again and again, as pages do that are reloaded."""
    while True:
        async with session.get(f"{stream}?offset=-1") as answer:
            await answer.read()
        await asyncio.sleep(0.25)


async def follow(session: aiohttp.ClientSession, stream: str, after_s: float) -> None:
    """Read the history in a while, then follow live."""
    await asyncio.sleep(after_s)
    async with session.get(f"{stream}?offset=-1") as answer:
        offset = answer.headers["Stream-Next-Offset"]
        await answer.read()
    while True:
        async with session.get(f"{stream}?offset={offset}&live=sse", timeout=None) as answer:
            async for line in answer.content:
                if line.startswith(b"id:"):
                    offset = line.removeprefix(b"id:").strip().decode()


async def shoot(browser: Browser, urls: dict[str, str], folder: Path, kind: str) -> None:
    """Take these pages in one kind of window."""
    scheme, width, height = KINDS[kind]
    context = await browser.new_context(
        color_scheme=scheme,
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
    )
    page = await context.new_page()
    for name, url in urls.items():
        await page.goto(url)
        if name == "explain":
            await page.get_by_role("button", name="Explain").click()
            await page.get_by_text("The next request gets").first.wait_for()
        await page.screenshot(path=folder / f"{name}-{kind}.png")
    await context.close()


async def shoot_chat(browser: Browser, folder: Path) -> None:
    """Take a chat whose first answer is orphaned, while the second one is written."""
    first, second = "What is a headgate?", "And what if the keeper is called away?"
    with tempfile.TemporaryDirectory() as data, example(Path(data)) as programs:
        page = await browser.new_page(
            color_scheme="light", viewport={"width": 960, "height": 740}, reduced_motion="reduce"
        )
        await page.goto(programs.app.url)
        tab = ChatTab(page)
        await tab.ask(first)
        programs.app.kill()
        programs.app.start()
        await tab.ended("orphaned")
        await tab.ask(second)
        await page.reload()
        await tab.is_writing(told(second)[1])
        await page.screenshot(path=folder / "chat-light.png")
        await page.close()


async def main() -> None:
    """Take the pictures that pages show, and every page where a folder is given."""
    async with chromium() as browser, busy_gateway() as console:
        await shoot(browser, {SHOWN: f"{console}/"}, IMAGES, SHOWN_KIND)
        await shoot_chat(browser, IMAGES)
        if sys.argv[1:]:
            folder = Path(sys.argv[1])
            for kind in KINDS:
                await shoot(
                    browser, {name: console + at for name, at in PAGES.items()}, folder, kind
                )


if __name__ == "__main__":
    asyncio.run(main())
