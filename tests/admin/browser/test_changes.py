"""Messages as they are appended to an open page, and what operators change."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from headgate_admin.app import build
from headgate_gateway.features.questions.streams import StreamDescription, StreamRow
from tests.admin.browser.filled import ROUTE
from tests.admin.browser.serving import HASH, PASSWORD, Tab, showing
from tests.admin.consoles import Switchboard, setup
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

MESSAGES = "#messages li"
IS_AT_END = """() => {
  const list = document.querySelector("#messages ol");
  return list.scrollTop > 0 && list.scrollTop + list.clientHeight > list.scrollHeight - 5;
}"""
MOST_ROWS = 2_000  # of a page, as messages.js has it
SIGNED = f"/streams/one?route={ROUTE}&name=signed&tab=metadata"


@asynccontextmanager
async def looking(
    browser: Browser, site: Filled, name: str, tab: str = "messages"
) -> AsyncIterator[Tab]:
    """The page of a stream; nothing may have gone wrong on it in the end."""
    path = f"/streams/one?route={ROUTE}&name={name}&tab={tab}"
    async with showing(browser, site.console, path) as opened:
        yield opened


@asynccontextmanager
async def signing_in(browser: Browser) -> AsyncIterator[Tab]:
    """The page of a stream on a console that has users."""
    users = [
        {"name": "ada", "role": "operator", "password_hash": HASH},
        {"name": "bob", "role": "viewer", "password_hash": HASH},
    ]
    source = Switchboard(answers=lambda _: (StreamDescription(StreamRow(name="signed"), {}),))
    async with (
        AdminServer(build(source, setup(admin_users=users))) as server,
        showing(browser, str(server.make_url("/")), SIGNED) as opened,
    ):
        yield opened


async def test_appended_messages_appear_on_an_open_page_within_a_second(
    browser: Browser, site: Filled
) -> None:
    await site.send("PUT", "tail")
    async with looking(browser, site, "tail") as tab:
        await tab.page.get_by_text("0 messages, following").wait_for()
        for number in range(3):
            began = time.monotonic()
            assert await site.send("POST", "tail", {"number": number, "text": "<b>"}) == (204, "")
            row = tab.page.locator(MESSAGES).nth(number)
            await row.get_by_text(f'{{"number": {number}, "text": "<b>"}}').wait_for()
            assert time.monotonic() - began < 1


async def test_a_paused_tail_shows_missed_messages_afterwards_and_ends_with_its_stream(
    browser: Browser, site: Filled
) -> None:
    await site.send("PUT", "pause")
    async with looking(browser, site, "pause") as tab:
        await tab.page.get_by_role("button", name="Pause").click()
        await site.send("POST", "pause", ["while paused"])
        await tab.page.get_by_text("0 messages, paused").wait_for()
        await tab.page.get_by_role("button", name="Follow").click()
        await tab.page.locator(MESSAGES).get_by_text("while paused").wait_for()
        await site.send("POST", "pause", Stream_Closed="true")
        await tab.page.get_by_text("1 message, closed: this is the end").wait_for()


async def test_a_long_message_list_stays_at_its_end_and_drops_the_oldest(
    browser: Browser, site: Filled
) -> None:
    await site.send("PUT", "many")
    async with looking(browser, site, "many") as tab:
        status = tab.page.locator(".controls .status")
        await expect(status).to_have_text("0 messages, following")
        await site.send("POST", "many", list(range(MOST_ROWS)))
        await expect(status).to_have_text("2,000 messages, following")
        rows = tab.page.locator(MESSAGES)
        await tab.page.wait_for_function(IS_AT_END)
        await site.send("POST", "many", [MOST_ROWS])
        await expect(rows.last).to_contain_text(str(MOST_ROWS))
        await tab.page.wait_for_function(IS_AT_END)
        await expect(rows.first).to_contain_text("1")
        await expect(status).to_have_text("2,000 messages, following")
        await rows.last.locator("summary").press("Home")
        await expect(rows.first.locator("summary")).to_be_focused()


async def test_scrolling_to_the_end_reads_more_messages(browser: Browser, site: Filled) -> None:
    await site.send("PUT", "long")
    await site.send("POST", "long", list(range(1_500)))
    async with looking(browser, site, "long") as tab:
        await tab.goto(f"/streams/one?route={ROUTE}&name=long&offset=-1")
        await tab.page.get_by_text("1,000 messages, more to read").wait_for()
        await tab.page.locator(MESSAGES).first.locator("summary").press("End")
        await tab.page.get_by_text("1,200 messages, more to read").wait_for()


async def test_an_operator_appends_to_closes_and_deletes_a_stream_on_its_page(
    browser: Browser, site: Filled
) -> None:
    await site.send("PUT", "changed", Content_Type="text/plain")
    async with looking(browser, site, "changed", "change") as tab:
        await tab.page.get_by_label("One append").fill("a\nb")
        await tab.page.get_by_role("button", name="Append").click()
        await tab.page.get_by_text("✓ Appended.").wait_for()
        assert await site.send("GET", "changed?offset=-1") == (200, "a\nb")

        await tab.page.get_by_label("Close it").fill("changed")
        await tab.page.get_by_role("button", name="Close", exact=True).click()
        await tab.page.get_by_text("✓ The stream is closed.").wait_for()
        assert (await site.send("POST", "changed", b"c", Content_Type="text/plain"))[0] == 409

        await tab.page.get_by_label("Delete it").fill("changed")
        await tab.page.get_by_role("button", name="Delete").click()
        await tab.page.get_by_text("The stream is deleted.").wait_for()
        assert (await site.send("GET", "changed"))[0] == 404


async def test_signed_in_users_see_the_tabs_of_their_role(
    browser: Browser,
) -> None:
    async with signing_in(browser) as tab:
        assert await tab.inaccessible() == []
        for name, tabs in (("bob", 4), ("ada", 5)):
            await tab.page.get_by_label("Name").fill(name)
            await tab.page.get_by_label("Password").fill("wrong")
            await tab.page.get_by_role("button", name="Sign in").click()
            await tab.page.get_by_text("The name or the password is wrong.").wait_for()
            assert await tab.page.get_by_label("Name").input_value() == name
            await tab.page.get_by_label("Password").fill(PASSWORD)
            await tab.page.get_by_role("button", name="Sign in").click()
            await tab.page.get_by_role("heading", name="signed").wait_for()
            assert await tab.page.locator(".tabs a").count() == tabs
            await tab.page.get_by_role("button", name="Sign out").click()
            await tab.page.get_by_role("heading", name="Sign in").wait_for()
            await tab.goto(SIGNED)
        tab.wrong = [it for it in tab.wrong if "401 (Unauthorized)" not in it]


async def test_a_foreign_next_address_is_dropped_from_the_sign_in_form(
    browser: Browser,
) -> None:
    async with signing_in(browser) as tab:
        for there in ("//evil.example", "/\\evil.example", "https://evil.example/"):
            await tab.goto(f"/sign-in?next={there}")
            # A short page has no scroll bar.
            height = await tab.page.evaluate("document.documentElement.scrollHeight - innerHeight")
            assert height == 0
            assert await tab.page.locator("[name=next]").input_value() == "/"
