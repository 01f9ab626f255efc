"""The deletion of many streams, as an operator makes it on a live page of a real gateway."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
from typing import TYPE_CHECKING

import pytest
from playwright.async_api import expect

from tests.admin.browser.serving import Tab
from tests.support.processes import headgate

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.support.processes import Headgate

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.asyncio(loop_scope="session")]

STREAMS = 6_000  # several seconds of deletions


def create(server: Headgate, *names: str) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    with contextlib.closing(connection):
        for name in names:
            connection.request("PUT", f"/v1/stream/{name}")
            answer = connection.getresponse()
            assert answer.status == 201
            answer.read()


async def test_streams_below_a_prefix_are_deleted_with_progress_until_a_stop(
    browser: Browser,
) -> None:
    with headgate() as server:
        names = (f"s{number}" for number in range(STREAMS))
        await asyncio.to_thread(create, server, "%3Cb%3E", *names)
        tab = await Tab.open(browser, server.admin_url, "/streams?by=begins&text=s")
        page = tab.page
        await page.get_by_role("link", name="Delete by prefix").click()
        await page.get_by_role("button", name="Count").click()
        await page.get_by_label("Enter the number of streams").fill(f"{STREAMS}")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("progressbar", name="Streams done")).to_be_visible()
        await page.get_by_role("button", name="Stop").click()
        await expect(page.locator(".facts-row").get_by_text("stopped")).to_be_visible()
        assert await tab.close() == []
