"""How pages serve everybody: by keyboard, in any colours and times, on any screen, and on paper."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Literal

import pytest
from playwright.async_api import expect

from tests.admin.browser.serving import showing

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

SPAN = re.compile(r"^\d\d:\d\d:\d\d to \d\d:\d\d:\d\d UTC")


async def test_single_letter_keys_open_pages_unless_they_are_switched_off(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console) as tab:
        dialog = tab.page.get_by_role("dialog", name="Preferences")
        await tab.page.keyboard.press("?")
        await expect(dialog).to_be_visible()
        await tab.page.keyboard.press("Escape")
        await expect(dialog).not_to_be_visible()
        await tab.page.clock.install()
        async with tab.page.expect_navigation(url="**/routes"):
            await tab.page.keyboard.press("g")
            await tab.page.clock.fast_forward(3000)  # some people, and busy machines, take so long
            await tab.page.keyboard.press("r")
        await tab.page.get_by_role("button", name="Preferences").click()
        await dialog.get_by_label("Keys that are single letters").select_option("off")
        await tab.page.keyboard.press("Escape")
        for key in "g", "o", "?":
            await tab.page.keyboard.press(key)
        await expect(dialog).not_to_be_visible()
        assert tab.page.url.endswith("/routes")


async def test_a_dragged_or_selected_span_of_a_chart_leads_to_what_happened_in_it(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console) as tab:
        chart = tab.page.get_by_role("group", name="Reads per second, by result")
        await chart.scroll_into_view_if_needed()
        menu = tab.page.locator(".span-menu")
        plot = await chart.locator(".plot").bounding_box()
        assert plot is not None
        await tab.page.mouse.move(plot["x"] + plot["width"] / 2, plot["y"] + 80)
        await tab.page.mouse.down()
        await tab.page.mouse.move(plot["x"] + plot["width"] + 4, plot["y"] + 80)
        await tab.page.mouse.up()
        await expect(menu).to_contain_text(SPAN)
        await asyncio.sleep(2.5)  # after the next update of the page the values are still not shown
        await expect(tab.page.locator(".tip")).not_to_be_visible()
        await tab.page.keyboard.press("Escape")
        await expect(menu).not_to_be_visible()
        await expect(tab.page.locator(".rule")).to_have_count(0)
        await chart.focus()
        for key in "End", "Shift+PageUp", "Shift+ArrowRight", "Enter":
            await tab.page.keyboard.press(key)
        await expect(menu).to_contain_text(SPAN)
        begin = (await menu.inner_text())[:8]
        await expect(menu.get_by_role("link", name="Events")).to_be_focused()
        async with tab.page.expect_navigation(url="**/events?show=events&from=*"):
            await tab.page.keyboard.press("Enter")
        words = re.compile(rf"Only events from \d+-\d+-\d+ {begin} UTC")
        await expect(tab.page.locator("main")).to_contain_text(words)


async def test_the_palette_finds_pages_and_streams_by_name(browser: Browser, site: Filled) -> None:
    async with showing(browser, site.console) as tab:
        await tab.page.keyboard.press("Control+k")
        field = tab.page.get_by_role("combobox")
        await field.type("config")
        options = tab.page.get_by_role("option")
        await expect(options).to_have_count(1)
        assert await tab.inaccessible() == []
        await field.fill("chat/000")
        await expect(options.first).to_contain_text("chat/0000")
        await expect(tab.page.get_by_text("The first 8 found")).to_be_visible()
        await expect(options.last).to_have_attribute("href", re.compile("by=contains&text=chat"))
        await field.press("ArrowDown")
        await expect(options.nth(1)).to_have_attribute("aria-selected", "true")
        chosen = await options.nth(1).get_attribute("id")
        assert await field.get_attribute("aria-activedescendant") == chosen
        async with tab.page.expect_navigation(url="**/streams/one?*name=chat%2F0001"):
            await field.press("Enter")


async def test_times_are_utc_or_local_as_the_browser_keeps_it(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, timezone_id="Asia/Tokyo") as tab:
        shown = "(labels) => labels.map((it) => [Number(it.dataset.at), it.textContent])"
        labels = tab.page.locator(".times").first.locator("[data-at]")
        for zone, choice in ((UTC, ""), (timezone(timedelta(hours=9)), "local")):
            if choice:
                await tab.page.get_by_role("button", name="Preferences").click()
                await tab.page.get_by_label("Times").select_option(choice)
            found = await labels.evaluate_all(shown)
            assert found
            for at, text in found:
                assert f"{datetime.fromtimestamp(at, zone):%H:%M:%S}".startswith(text)
        # Both at once: an event that comes between is the first one then.
        for path, shown in ("/events", "textContent"), ("/gateways", "title"):
            await tab.goto(path)
            times = f"(times) => times.map((it) => [it.getAttribute('datetime'), it.{shown}])"
            found = await tab.page.locator("time").evaluate_all(times)
            assert found
            for text, local in found:
                at = datetime.fromisoformat(text).astimezone(zone)
                assert local == f"{at:%Y-%m-%d %H:%M:%S} UTC+09:00"


async def test_a_long_page_shows_the_rows_that_have_a_text_and_so_does_its_address(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, "/configuration") as tab:
        rows = tab.page.locator("table.settings:not(.differing) tbody tr")
        row = rows.filter(has_text="long_poll_timeout", visible=True)
        await expect(row).to_have_count(0)  # among the defaults, which are folded
        await tab.page.get_by_label("Filter the settings").fill("LONG_POLL_TIMEOUT")
        await expect(row).to_have_count(1)
        assert await rows.filter(visible=True).count() < await rows.count() / 9
        await expect(tab.page).to_have_url(re.compile(r"\?filter=LONG_POLL_TIMEOUT$"))
        await tab.page.reload()
        await expect(row).to_have_count(1)
        assert await rows.filter(visible=True).count() < await rows.count() / 9


async def test_a_relative_time_is_outside_of_what_screen_readers_speak(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console) as tab:
        spoken = tab.page.locator("[role=status], [aria-live]")
        assert "cannot be connected to" in " ".join(await spoken.all_inner_texts())
        assert await spoken.locator("time").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_colours_of_series_can_be_read_as_text(
    browser: Browser, site: Filled, scheme: Literal["light", "dark"]
) -> None:
    """Labels at the ends of lines have them: their contrast with a card is 4.5 at least."""
    script = """() => {
      const linear = (it) => (it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
      const light = (colour) => colour.match(/\\d+/g).slice(0, 3)
        .map((it) => linear(it / 255))
        .reduce((sum, it, at) => sum + it * [0.2126, 0.7152, 0.0722][at], 0.05);
      const card = light(getComputedStyle(document.querySelector(".card")).backgroundColor);
      return [...document.querySelectorAll(".legend i")]
        .map((it) => light(getComputedStyle(it).backgroundColor))
        .map((it) => Math.max(it, card) / Math.min(it, card));
    }"""
    async with showing(browser, site.console, color_scheme=scheme) as tab:
        contrasts = await tab.page.evaluate(script)
        assert len(contrasts) > 15
        assert min(contrasts) >= 4.5


async def test_forced_colours_keep_the_series_of_charts_apart(
    browser: Browser, site: Filled
) -> None:
    colours = "(items) => items.map((it) => getComputedStyle(it).backgroundColor)"
    async with showing(browser, site.console, forced_colors="active") as tab:
        chart = tab.page.get_by_role("group", name="Reads per second, by result")
        assert len(set(await chart.locator(".legend i").evaluate_all(colours))) == 6


async def test_the_menu_is_a_rail_of_named_icons_on_a_middling_screen(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, viewport={"width": 768, "height": 900}) as tab:
        link = tab.page.get_by_role("link", name="Routes")
        box = await link.bounding_box()
        assert box is not None
        assert box["width"] < 60
        assert await link.get_attribute("title") == "Routes"


async def test_a_printed_page_has_its_content_alone(browser: Browser, site: Filled) -> None:
    async with showing(browser, site.console) as tab:
        await tab.page.emulate_media(media="print")
        await expect(tab.page.locator("h1")).to_be_visible()
        for selector in ".rail nav", ".rail footer", ".segments":
            await expect(tab.page.locator(selector)).not_to_be_visible()


async def test_the_chosen_colours_are_kept_on_all_pages_and_system_is_the_default(
    browser: Browser, site: Filled
) -> None:
    colour = "getComputedStyle(document.body).backgroundColor"
    dark, light = "rgb(11, 13, 16)", "rgb(250, 250, 250)"
    async with showing(browser, site.console, color_scheme="dark") as tab:
        preferences = tab.page.get_by_role("button", name="Preferences")
        select = tab.page.get_by_label("Colours")
        await preferences.click()
        assert await tab.page.evaluate(colour) == dark
        await select.select_option("light")
        assert await tab.page.evaluate(colour) == light
        await tab.goto("/routes")
        assert await tab.page.evaluate(colour) == light
        await preferences.click()
        assert await select.input_value() == "light"
        await select.select_option("system")
        assert await tab.page.evaluate(colour) == dark


async def test_the_link_of_the_shown_page_is_in_view_in_the_scrolling_bar_of_a_phone(
    browser: Browser, site: Filled
) -> None:
    narrow = {"width": 360, "height": 780}
    async with showing(browser, site.console, "/configuration", viewport=narrow) as tab:
        current = tab.page.locator(".rail nav [aria-current]")
        await expect(current).to_be_in_viewport(ratio=1)
