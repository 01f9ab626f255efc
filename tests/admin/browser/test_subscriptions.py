"""The page of subscriptions in a browser: the list, one of them, and what an operator changes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.admin.browser.filled import ROUTE
from tests.admin.browser.serving import showing

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

BILLS = f"/subscriptions?route={ROUTE}&id=bills"


async def test_an_operator_pauses_replays_and_deletes_a_subscription(
    browser: Browser, site: Filled
) -> None:
    path = "__ds/subscriptions/own"
    hook = {"type": "webhook", "pattern": "own/*", "webhook": {"url": "http://127.0.0.1:9/hook"}}
    await site.send("PUT", path, hook)
    await site.send("PUT", "own/1", [1])
    async with showing(browser, site.console, BILLS.replace("bills", "own")) as tab:
        page = tab.page
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_text("nothing is lost.").wait_for()
        await page.get_by_label("Stream, or all if empty").fill("own/1")
        await page.get_by_role("button", name="Replay", exact=True).click()
        await page.get_by_text("Cursors that were set back: ").wait_for()
        await page.get_by_label("Deleting it").fill("own")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_text("The subscription is deleted.").wait_for()
    assert (await site.send("GET", path))[0] == 404


async def test_a_refused_form_keeps_what_was_entered_and_changes_nothing(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, BILLS) as tab:
        page = tab.page
        await page.get_by_label("Stream, or all if empty").fill("a/b")
        await page.get_by_label("From", exact=True).select_option("offset")
        await page.get_by_role("button", name="Replay", exact=True).click()
        await page.get_by_text("An offset belongs to a stream: enter both.").wait_for()
        assert await page.get_by_label("Stream, or all if empty").input_value() == "a/b"
        await page.get_by_label("Deleting it").fill("another")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_text("This is not the subscription's id").wait_for()
        # Chromium notes each answer of an error as one.
        tab.wrong = [it for it in tab.wrong if "400 (Bad Request)" not in it]
    assert (await site.send("GET", "__ds/subscriptions/bills"))[0] == 200


async def test_the_list_is_searched_and_filtered_and_says_when_it_is_empty(
    browser: Browser, site: Filled
) -> None:
    async with showing(browser, site.console, "/subscriptions") as tab:
        page = tab.page
        rows = page.locator("table.subscriptions tbody tr")
        await page.get_by_role("link", name="Paused 1").click()
        await expect(rows).to_have_count(1)
        await page.get_by_role("link", name="All 1").click()
        await page.get_by_role("searchbox").fill("orders")
        await page.get_by_role("button", name="Search").click()
        await expect(rows).to_have_count(1)
        await page.get_by_role("link", name="orders").click()
        await page.locator(".failure").get_by_text("Connect").wait_for()
        await tab.goto("/subscriptions?text=nothing-has-this")
        await page.get_by_text("No subscription fits").wait_for()
