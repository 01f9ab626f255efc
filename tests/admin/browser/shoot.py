"""Takes the pictures of docs/img: python -m tests.admin.browser.shoot [FOLDER [NAME,...]]."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp.test_utils import TestServer
from playwright.async_api import async_playwright

from tests.admin.browser.made_up import MadeUp
from tests.admin.browser.serving import HASH, application, launch
from tests.client.chat import shoot as chat

if TYPE_CHECKING:
    from playwright.async_api import Browser

IMAGES = Path(__file__).parents[3] / "docs" / "img"
USER = {"name": "ada", "role": "operator", "password_hash": HASH}
STREAM = "/stream?route=/v1/stream&name=chat/0000"
PAGES = {
    "overview": "/",
    "routes": "/routes",
    "streams": "/streams",
    "stream": STREAM,
    "stream-readers": f"{STREAM}&tab=readers",
    "stream-producers": f"{STREAM}&tab=producers",
    "stream-metadata": f"{STREAM}&tab=metadata",
    "stream-change": f"{STREAM}&tab=change",
    "readers": "/readers",
    "readers-usage": "/readers?tab=usage",
    "readers-bans": "/readers?tab=bans",
    "subscriptions": "/subscriptions",
    "subscription": "/subscriptions?route=/v1/stream&id=orders",
    "runs": "/runs",
    "events": "/events",
    "refusals": "/refusals",
    "tokens": "/tokens",
    "processes": "/processes",
    "explain": "/explain?target=/v1/stream/chat/0000?offset=-1",
    "cdn": "/cdn?target=nginx&host=streams.example.com",
    "configuration": "/configuration",
    "about": "/about",
    "alerts": "/alerts#headgatehistorylost",
    "sign-in": "/sign-in",
    "error": "/stream?route=/v1/stream&name=missing",
    "empty": "/streams?route=/v1/audit",
    "runs-empty": "/runs?route=/v1/audit",
}
KINDS = {
    "light": ("light", 1280, 900),
    "dark": ("dark", 1280, 900),
    "narrow": ("light", 360, 780),
}


async def shoot(browser: Browser, urls: dict[str, str], folder: Path, kind: str) -> None:
    """All pages of one kind."""
    scheme, width, height = KINDS[kind]
    context = await browser.new_context(
        color_scheme=scheme,  # type: ignore[arg-type]  # one of two words
        viewport={"width": width, "height": height},
        reduced_motion="reduce",
    )
    page = await context.new_page()
    for name, url in urls.items():
        await page.goto(url)
        if name == "explain":
            await page.get_by_role("button", name="Explain").click()
            await page.get_by_text("The next request gets").first.wait_for()
        if name == "stream":
            await page.get_by_text("following").wait_for()
            await page.get_by_role("listbox").press("Home")
        await page.screenshot(path=folder / f"{name}-{kind}.png", full_page="--full" in sys.argv)
    await context.close()


async def main() -> None:
    """Every page, light and dark, wide and narrow."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    folder = Path(words[0]) if words else IMAGES
    names = words[1].split(",") if words[1:] else [*PAGES, "chat"]
    folder.mkdir(parents=True, exist_ok=True)
    async with (
        TestServer(application(MadeUp()), host="127.0.0.1") as server,
        TestServer(application(MadeUp(), admin_users=[USER]), host="127.0.0.1") as closed,
        async_playwright() as tool,
    ):
        browser = await launch(tool)
        urls = {name: str(server.make_url(PAGES[name])) for name in names if name in PAGES}
        if "sign-in" in urls:
            urls["sign-in"] = str(closed.make_url("/sign-in"))
        for kind in KINDS:
            await shoot(browser, urls, folder, kind)
        if "chat" in names:
            await chat.shoot(browser, folder)
        await browser.close()


if __name__ == "__main__":
    asyncio.run(main())
