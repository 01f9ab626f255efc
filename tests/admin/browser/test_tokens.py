"""Tokens that are issued and revoked, reloads, and searches of messages, in a browser."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from typing import TYPE_CHECKING, Literal

import pytest

from tests.admin.browser.filled import HOSTILE, filled
from tests.admin.browser.serving import Tab, showing

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKENS = "/clients?show=tokens"
WITH_SCRIPTS = sum("alert(1)" in it for it in HOSTILE)
MESSAGES = "/streams/one?route=/v1/stream&name=chat/0000"


async def test_tokens_are_issued_and_revoked_and_settings_reloaded_without_scripts(
    browser: Browser,
) -> None:
    async with filled() as site:
        site.config.write_text(site.settings)
        tab = await Tab.open(browser, site.console, TOKENS, java_script_enabled=False)
        page = tab.page
        await page.get_by_label("Subject: the name of the reader").fill("ann")
        await page.get_by_label("Stream, or /*").fill("/v1/stream/ann")
        await page.get_by_role("button", name="Issue").click()
        assert "Copy it now" in await page.locator(".issued").inner_text()
        token = await page.locator(".issued pre").first.inner_text()
        assert json.loads(urlsafe_b64decode(token.split(".")[1] + "=="))["sub"] == "ann"
        await page.get_by_role("link", name="Revoke auditor").click()
        assert await page.get_by_label("Value").input_value() == "auditor"
        await page.get_by_role("button", name="Revoke").click()
        await page.get_by_role("heading", name="Revoked", exact=True).wait_for(timeout=5000)
        revoked = (site.folder / "tokens.toml").read_text().rpartition("[[revoked]]")[2]
        assert 'name = "auditor"' in revoked
        await tab.goto("/configuration")
        await page.get_by_role("button", name="Reload").click()
        await page.get_by_text("The settings were reloaded.").wait_for(timeout=5000)
        await tab.context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_an_issued_token_is_shown_accessibly_and_can_be_copied_on_a_telephone(
    browser: Browser, site: Filled, scheme: Literal["light", "dark"]
) -> None:
    phone = {"width": 360, "height": 780}
    async with showing(browser, site.console, TOKENS, color_scheme=scheme, viewport=phone) as tab:
        await tab.page.get_by_label("Subject: the name of the reader").fill("ann")
        await tab.page.get_by_label("Stream, or /*").fill("/v1/stream/chat")
        await tab.page.get_by_role("button", name="Issue").press("Enter")
        await tab.page.get_by_role("button", name="Copy the token").wait_for(timeout=5000)
        assert not await tab.is_wider_than_its_window()
        assert await tab.inaccessible() == []


async def test_an_open_message_links_to_its_offset(browser: Browser, site: Filled) -> None:
    async with showing(browser, site.console, f"{MESSAGES}&offset=-1") as tab:
        await tab.page.get_by_text("following").wait_for()
        await tab.page.locator("#messages li summary").first.click()
        there = tab.page.locator("#messages li a")
        offset = await there.inner_text()
        assert "_" in offset
        await there.click()
        await tab.page.wait_for_url(f"**offset={offset}")
        assert await tab.page.locator("#search").input_value() == offset


async def test_messages_are_searched_by_the_keyboard_without_scripts(
    browser: Browser, site: Filled
) -> None:
    tab = await Tab.open(browser, site.console, MESSAGES, java_script_enabled=False)
    await tab.page.get_by_label("Text", exact=True).fill("alert(1)")
    await tab.page.get_by_label("Text", exact=True).press("Enter")
    await tab.page.get_by_text("This is the tail.").wait_for(timeout=5000)
    assert await tab.page.locator(".plain-list li").count() == WITH_SCRIPTS
    await tab.context.close()
