"""Changes of many streams, as an operator makes them on live pages of a real gateway."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.admin.browser.serving import Tab
from tests.support.http1 import ask
from tests.support.processes import headgate

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.support.processes import Headgate

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.asyncio(loop_scope="session")]


async def create(server: Headgate, *names: str) -> None:
    for name in names:
        answer = await asyncio.to_thread(ask, server.port, "PUT", f"/v1/stream/{name}")
        assert answer.status == 201


async def test_ticked_streams_are_deleted_although_the_table_moves_meanwhile(
    browser: Browser,
) -> None:
    with headgate() as server:
        await create(server, "b", "c", "d", "%3Cb%3E")
        tab = await Tab.open(browser, server.admin_url, "/streams")
        page = tab.page
        for name in ("c", "<b>"):
            await page.get_by_role("checkbox", name=f"Select {name}", exact=True).check()
        await create(server, "a")  # a row before the ticked ones
        await page.get_by_role("link", name="a", exact=True).wait_for()
        await page.locator(".many .group").first.get_by_role("button", name="Delete").click()
        await page.get_by_role("heading", name="Delete 2 selected streams").wait_for()
        assert await page.locator(".names li").all_inner_texts() == ["<b>", "c"]
        await page.get_by_label("Enter the number of streams, 2").fill("2")
        await page.keyboard.press("Enter")
        await expect(page.locator(".facts-row").get_by_text("done")).to_be_visible()
        await tab.goto("/streams")
        links = page.locator(".streams tbody th a")
        await expect(links).to_have_text(["a", "b", "d"])
        assert await tab.close() == []


async def test_a_running_job_shows_its_progress_and_stops_at_a_button(browser: Browser) -> None:
    with headgate() as server:
        await create(server, *(f"s{number}" for number in range(60)))
        tab = await Tab.open(browser, server.admin_url, "/streams?by=glob&text=s*")
        page = tab.page
        await page.locator(".many .group").nth(1).get_by_role("button", name="Delete").click()
        await page.get_by_label("Enter the number of streams, 60").fill("60")
        await page.get_by_label("Streams a second").fill("5")
        await page.get_by_role("button", name="Delete them").click()
        bar = page.get_by_role("progressbar", name="Streams done")
        before = float(await bar.get_attribute("value") or 0)
        await expect(bar).not_to_have_attribute("value", f"{before:g}")  # without a reload
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(".facts-row").get_by_text("stopped")).to_be_visible()
        assert await tab.close() == []
