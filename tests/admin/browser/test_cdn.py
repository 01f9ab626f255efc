"""The page of CDNs in a browser: choose a target, fill in the form, see, copy and save the file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from headgate_admin.pages import show
from headgate_cdn.options import from_settings
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.settings import Settings
from tests.admin.browser.filled import routes
from tests.admin.browser.serving import Tab
from tests.support.given_settings import sections

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOST, GATEWAY = "streams.example.com", "gateway.example.com:4437"  # some targets speak no TLS to it
NARROW = {"width": 360, "height": 780}
HOSTILE = ('"><img src=x onerror=alert(1)>', "a';}server{", "\u202egpj.example", "n" * 300)


def made(site: Filled, name: str) -> str:
    settings = Settings(**sections({"routes": routes(site.folder)}))
    return render(TARGETS[name], from_settings(settings, host=HOST, upstream=GATEWAY))


async def test_choosing_a_cdn_target_shows_copies_and_saves_its_file(
    browser: Browser, site: Filled
) -> None:
    tab = await Tab.open(
        browser, site.console, "/", permissions=["clipboard-read", "clipboard-write"]
    )
    await tab.page.keyboard.press("g")
    await tab.page.keyboard.press("a")
    await tab.page.wait_for_url("**/caches")
    await tab.page.get_by_role("link", name="CDN and proxies").click()
    chosen = TARGETS["haproxy"]
    await tab.page.get_by_role("link", name=chosen.title, exact=True).click()
    await tab.page.wait_for_load_state()  # else the letters of the host are taken for shortcuts
    facts = await tab.page.locator("main").inner_text()
    sentences = map(show.sentence, (*chosen.does, *chosen.does_not))
    assert [it for it in sentences if it not in facts] == []
    await tab.page.keyboard.press("/")
    await tab.page.keyboard.type(HOST)
    await tab.page.keyboard.press("Tab")
    await tab.page.keyboard.type(GATEWAY)
    await tab.page.get_by_role("button", name="Show the file").click()
    file = tab.page.get_by_role("region", name="The file")
    assert await file.text_content() == made(site, chosen.name)
    await tab.page.get_by_role("button", name="Copy", exact=True).click()
    await tab.page.locator(".copy.done").wait_for()
    assert await tab.page.evaluate("navigator.clipboard.readText()") == made(site, chosen.name)
    async with tab.page.expect_download() as saving:
        await tab.page.get_by_role("link", name="Download").click()
    saved = await saving.value
    assert saved.suggested_filename == chosen.file_name
    assert Path(await saved.path()).read_text() == made(site, chosen.name)
    assert await tab.close() == []


async def test_the_cdn_page_makes_a_file_without_scripts(browser: Browser, site: Filled) -> None:
    tab = await Tab.open(
        browser, site.console, "/caches/cdn?target=nginx", java_script_enabled=False
    )
    await tab.page.get_by_label("Host name that readers use").fill(HOST)
    await tab.page.get_by_label("This gateway, as the CDN reaches it").fill(GATEWAY)
    await tab.page.get_by_role("button", name="Show the file").click()
    assert await tab.page.get_by_role("region", name="The file").text_content() == made(
        site, "nginx"
    )
    examining = f"headgate doctor cdn https://{HOST}/v1/stream --digest nginx/"
    assert examining in await tab.page.locator("main").inner_text()
    assert not await tab.page.get_by_role("button", name="Copy", exact=True).is_visible()
    await tab.context.close()
