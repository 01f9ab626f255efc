"""The page of subscriptions in a browser: the list, one of them, and what an operator changes."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from tests.admin.browser.made_up import MadeUp
from tests.admin.browser.serving import Tab, application
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")


def path(name: str) -> str:
    return f"/subscriptions?route=/v1/stream&id={quote(name, safe='')}"


@asynccontextmanager
async def looking(browser: Browser, console: MadeUp, at: str) -> AsyncIterator[Tab]:
    """A tab of its own on a console of its own; nothing may go wrong on it."""
    async with AdminServer(application(console)) as server:
        tab = await Tab.open(browser, str(server.make_url("/")).rstrip("/"), at)
        yield tab
        assert await tab.close() == []


async def test_an_operator_pauses_replays_and_deletes_a_subscription(
    browser: Browser,
) -> None:
    console = MadeUp()
    async with looking(browser, console, path("bills")) as tab:
        page = tab.page
        await page.get_by_role("button", name="Pause").click()
        await page.get_by_text("nothing is lost.").wait_for()
        await page.get_by_label("Stream, or all if empty").fill("orders/2026-03-01")
        await page.get_by_role("button", name="Replay", exact=True).click()
        await page.get_by_text("Cursors that were set back: 12.").wait_for()
        await page.get_by_label("Deleting it").fill("bills")
        await page.get_by_role("button", name="Delete").click()
        await page.get_by_text("The subscription is deleted.").wait_for()
    assert console.done == [
        ("pause", "bills"),
        ("replay", "bills"),
        ("delete", "bills"),
    ]


async def test_a_refused_form_keeps_what_was_entered_and_changes_nothing(browser: Browser) -> None:
    console = MadeUp()
    async with looking(browser, console, path("bills")) as tab:
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
    assert console.done == []


async def test_the_list_is_searched_and_filtered_and_says_when_it_is_empty(
    browser: Browser,
) -> None:
    console = MadeUp()
    async with looking(browser, console, "/subscriptions") as tab:
        page = tab.page
        rows = page.locator("table.subscriptions tbody tr")
        await page.get_by_role("link", name="Paused 1").click()
        await expect(rows).to_have_count(1)
        await page.get_by_role("link", name="All 13").click()
        await page.get_by_role("searchbox").fill("orders")
        await page.get_by_role("button", name="Search").click()
        await expect(rows).to_have_count(1)
        await page.get_by_role("link", name="orders").click()
        await page.get_by_text("The receiver answered 503; see its log.").wait_for()
        await tab.goto("/subscriptions?text=nothing-has-this")
        await page.get_by_text("No subscription fits").wait_for()
        console.is_empty = True
        await tab.goto("/subscriptions")
        await page.get_by_text("No subscriptions yet").wait_for()
