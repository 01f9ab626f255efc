"""Answers of the example outlive the page, the app and Headgate, and always come to an end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.admin.browser.serving import Tab
from tests.client.chat.example import PATIENCE_MS, ChatTab, told

if TYPE_CHECKING:
    from playwright.async_api import Browser, BrowserContext

    from tests.client.chat.example import Program
    from tests.support.processes import Headgate

QUESTION = 'Who reads {this} in 東京 🚣 & "where"?\n<b>Boldly</b>'
ANSWER, BEGINNING = told(QUESTION)
ORPHAN_AFTER_S = 5  # as the app has it; its page has to connect again, too

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def asked(app: Program, tabs: BrowserContext) -> ChatTab:
    """A tab in whose chat the answer is in the middle."""
    tab = await ChatTab.new(tabs, app)
    await tab.ask(QUESTION)
    await tab.is_writing(BEGINNING)
    return tab


async def test_an_answer_is_shown_to_its_end_in_a_reloaded_tab_and_in_a_second_tab(
    app: Program, tabs: BrowserContext
) -> None:
    first = await asked(app, tabs)
    await first.page.reload()
    second = await first.second()
    for tab in (first, second):
        await tab.is_writing(BEGINNING)
    app.go_on()
    assert [await tab.ended("finished") for tab in (first, second)] == [ANSWER] * 2


@pytest.mark.usefixtures("processes")
async def test_an_answer_is_finished_after_a_crash_of_headgate(
    gateway: Headgate, app: Program, tabs: BrowserContext
) -> None:
    tab = await asked(app, tabs)
    gateway.kill()
    app.go_on()
    gateway.start()
    assert await tab.ended("finished") == ANSWER


@pytest.mark.usefixtures("processes")
async def test_an_answer_of_a_killed_app_ends_as_orphaned_and_asking_again_is_answered(
    app: Program, tabs: BrowserContext
) -> None:
    tab = await asked(app, tabs)
    app.process.kill()
    await expect(tab.page.get_by_role("status")).to_contain_text("Trying again")
    app.start()
    app.go_on()
    assert await tab.ended("orphaned") == BEGINNING
    await tab.page.get_by_role("button", name="Ask again").click()
    await expect(tab.answers).to_have_count(2, timeout=PATIENCE_MS)
    assert await tab.ended("finished") == ANSWER


async def test_the_chat_page_passes_accessibility_checks_and_loads_nothing_from_other_sites(
    app: Program, browser: Browser
) -> None:
    tab = await Tab.open(browser, app.url, color_scheme="light")
    chat = ChatTab(tab.page)
    found = await tab.inaccessible()
    await chat.ask(QUESTION)
    await chat.is_writing(BEGINNING)
    found += await tab.inaccessible()
    await tab.page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    await tab.page.set_viewport_size({"width": 360, "height": 780})
    found += await tab.inaccessible()
    await chat.stop()
    assert await chat.ended("stopped") == BEGINNING
    found += await tab.inaccessible()
    assert found == []
    assert not await tab.is_wider_than_its_window()
    assert await tab.close() == []
