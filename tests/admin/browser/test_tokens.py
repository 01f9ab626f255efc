"""Tokens that are issued and revoked, reloads, and searches of messages, in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import pytest

from admin.model.tokens import TokenWish
from admin.model.viewer import Viewer
from tests.admin.browser.made_up import MadeUp
from tests.admin.browser.serving import Tab, application
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from aiohttp.test_utils import BaseTestServer
    from playwright.async_api import Browser

pytestmark = pytest.mark.asyncio(loop_scope="session")

OPERATOR = Viewer("ada", "operator", "")
WISH = TokenWish("ann", "/v1/stream/chat")
MESSAGES = "/streams/one?route=/v1/stream&name=chat/0000"


def base_of(server: BaseTestServer) -> str:
    return str(server.make_url("/")).rstrip("/")


async def test_tokens_are_issued_and_revoked_and_settings_reloaded_without_scripts(
    browser: Browser,
) -> None:
    console = MadeUp()
    async with AdminServer(application(console)) as server:
        path = "/clients?show=tokens"
        tab = await Tab.open(browser, base_of(server), path, java_script_enabled=False)
        page = tab.page
        await page.get_by_label("Subject: the name of the reader").fill("ann")
        await page.get_by_label("Stream, or /*").fill("/v1/stream/chat")
        await page.get_by_role("button", name="Issue").click()
        assert "Copy it now" in await page.locator(".issued").inner_text()
        assert (
            await page.locator(".issued pre").first.inner_text()
            == (await console.credentials.make_token(WISH, OPERATOR)).token
        )
        await page.get_by_role("link", name="Revoke auditor").click()
        assert await page.get_by_label("Value").input_value() == "auditor"
        await page.get_by_role("button", name="Revoke").click()
        await page.get_by_role("heading", name="Revoked", exact=True).wait_for(timeout=5000)
        await tab.goto("/configuration")
        await page.get_by_role("button", name="Reload").click()
        await page.get_by_text("The settings were reloaded.").wait_for(timeout=5000)
        await tab.context.close()
    assert console.done == [
        ("token", "ann"),
        ("token", "ann"),
        ("revoke", "name", "auditor"),
        ("reload",),
    ]


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_issued_token_is_shown_accessibly_and_can_be_copied_on_a_telephone(
    browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    async with AdminServer(application(MadeUp())) as server:
        tab = await Tab.open(
            browser,
            base_of(server),
            "/clients?show=tokens",
            color_scheme=scheme,
            viewport={"width": 360, "height": 780},
        )
        await tab.page.get_by_label("Subject: the name of the reader").fill("ann")
        await tab.page.get_by_label("Stream, or /*").fill("/v1/stream/chat")
        await tab.page.get_by_role("button", name="Issue").press("Enter")
        await tab.page.get_by_role("button", name="Copy the token").wait_for(timeout=5000)
        assert not await tab.is_wider_than_its_window()
        assert await tab.inaccessible() == []
        assert await tab.close() == []


async def test_a_message_that_is_selected_links_to_its_offset(browser: Browser) -> None:
    async with AdminServer(application(MadeUp())) as server:
        tab = await Tab.open(browser, base_of(server), f"{MESSAGES}&offset=-1")
        await tab.page.locator(".message").first.click()
        there = tab.page.locator(".detail a")
        offset = await there.inner_text()
        assert offset.startswith("0000000001_")
        await there.click()
        await tab.page.wait_for_url(f"**offset={offset}")
        assert await tab.page.locator("#search").input_value() == offset
        assert await tab.close() == []


async def test_messages_are_searched_by_the_keyboard_without_scripts(browser: Browser) -> None:
    async with AdminServer(application(MadeUp())) as server:
        tab = await Tab.open(browser, base_of(server), MESSAGES, java_script_enabled=False)
        await tab.page.get_by_text("Search", exact=True).first.press("Enter")
        await tab.page.get_by_label("Text", exact=True).fill("some")
        await tab.page.get_by_label("Text", exact=True).press("Enter")
        await tab.page.get_by_role("link", name="Search on").wait_for(timeout=5000)
        assert await tab.page.locator(".plain-list li").count() == 3
        await tab.context.close()
