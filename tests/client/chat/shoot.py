"""The picture of the example: an answer that was orphaned, and the next one as it comes."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

from tests.client.chat.example import ChatTab, Program, chat_app, told
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.async_api import Browser

QUESTIONS = "What is a headgate?", "And what if the keeper is called away?"


async def shoot(browser: Browser, folder: Path) -> None:
    """Take one chat."""
    with (
        tempfile.TemporaryDirectory() as data,
        headgate(f"file:{data}") as gateway,
        chat_app(gateway.streams) as app,
    ):
        url = await _crashed_chat(browser, app)
        page = await browser.new_page(
            color_scheme="light", viewport={"width": 960, "height": 740}, reduced_motion="reduce"
        )
        await page.goto(url)
        await ChatTab(page).is_writing(told(QUESTIONS[1])[1])
        await page.screenshot(path=folder / "chat-light.png")
        await page.close()


async def _crashed_chat(browser: Browser, app: Program) -> str:
    """The URL of a chat whose first answer is orphaned; the second is in the middle."""
    tab = await ChatTab.new(await browser.new_context(), app)
    await tab.ask(QUESTIONS[0])
    await tab.is_writing(told(QUESTIONS[0])[1])
    app.process.kill()
    app.start()
    await tab.ended("orphaned")
    await tab.ask(QUESTIONS[1])
    await tab.is_writing(told(QUESTIONS[1])[1])
    return tab.page.url
