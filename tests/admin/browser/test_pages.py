"""Every page as people see it: light and dark, wide and narrow, with and without scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_admin.model.overview import served
from tests.admin.browser.serving import Tab

if TYPE_CHECKING:
    from playwright.async_api import Browser, Locator

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 360, "height": 780}
STREAM = "/streams/one?route=/v1/stream&name=chat/0000"


async def test_an_error_is_shown_as_a_page_that_explains_it(browser: Browser, site: Filled) -> None:
    tab = await Tab.open(browser, site.console)
    for path, status, title, detail in (
        ("/nowhere", 404, "Not Found", "There is no such page."),
        ("/?span=2h", 400, "Bad Request", "Span must be one of 15m, 1h, 6h, 24h."),
        (
            "/streams/one?route=/v1/stream&name=missing",
            404,
            "Not Found",
            "There is no stream at this path.",
        ),
    ):
        answer = await tab.page.goto(site.console + path)
        assert answer is not None
        assert (answer.status, await tab.page.locator("h1").inner_text()) == (status, title)
        assert detail in await tab.page.locator("main").inner_text()
        assert await tab.page.get_by_role("link", name="Overview").first.is_visible()
    assert await tab.inaccessible() == []
    await tab.context.close()


async def test_pages_show_figures_charts_messages_and_search_without_scripts(
    browser: Browser, site: Filled
) -> None:
    tab = await Tab.open(browser, site.console, java_script_enabled=False)
    figures = await tab.page.locator(".figure").all_inner_texts()
    assert (len(figures), figures.count("–") < 4) == (8, True)
    assert await tab.page.locator(".chart .area").count() == 15
    await tab.goto(f"{STREAM}&offset=-1")
    messages = tab.page.locator(".plain-list details")
    await messages.first.locator("summary").click()
    told = await messages.first.locator("pre").inner_text()
    assert told.splitlines()[2] == '  "at": 12345678901234567890,'
    await tab.page.get_by_role("link", name="Next messages").click()
    assert "skip=50" in tab.page.url
    await tab.goto("/streams")
    await tab.page.get_by_label("Text of the names").fill("chat/000")
    await tab.page.get_by_role("button", name="Search").click()
    assert await tab.page.locator(".streams tbody tr").count() == 10
    await tab.context.close()


CUT_NAMES = """(longest) => {
  const names = [...document.querySelectorAll(".strip dt")];
  names.at(-1).textContent = longest;
  return names.filter((it) => it.scrollWidth > it.clientWidth).map((it) => it.textContent);
}"""


@pytest.mark.parametrize("width", [390, 761, 1081, 1271, 1440])  # the narrowest of the layouts
async def test_no_figure_of_the_first_page_has_a_name_that_is_cut(tab: Tab, width: int) -> None:
    await tab.goto("/")
    await tab.page.set_viewport_size({"width": width, "height": 900})
    assert await tab.page.evaluate(CUT_NAMES, served("http")) == []


async def first_message(tab: Tab) -> Locator:
    """Open the first of the messages, and return it."""
    await tab.page.get_by_text("following").wait_for()
    message = tab.page.locator("#messages li").first
    await message.locator("summary").first.press("Enter")
    return message


async def test_json_is_indented_with_its_numbers_as_written(browser: Browser, site: Filled) -> None:
    tab = await Tab.open(browser, site.console, STREAM)
    message = await first_message(tab)
    lines = (await message.locator("pre").inner_text()).splitlines()
    assert '  "at": 12345678901234567890,' in lines
    assert await tab.inaccessible() == []
    assert await tab.close() == []


async def test_a_binary_message_is_shown_as_hex_beside_ascii(
    browser: Browser, site: Filled
) -> None:
    tab = await Tab.open(browser, site.console, "/streams/one?route=/v1/stream&name=binary")
    message = await first_message(tab)
    assert (await message.locator("pre").inner_text()).splitlines()[4:5] == [
        "00000040  40 41 42 43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f  @ABCDEFGHIJKLMNO"
    ]
    assert await tab.close() == []
