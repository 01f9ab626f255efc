"""Values that would run as scripts, in every place where a page shows what others have written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_admin.pages.rendering import link
from tests.admin.browser.filled import HOSTILE, ROUTE, evil
from tests.admin.browser.serving import showing
from tests.support.examples import IS_WHOLE

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

# What no page has of its own, and what may stand in no attribute.
FOREIGN = (
    "script:not([src]), script[src*=evil], img, iframe, object, embed, base, video, marquee, math, "
    "style, template, animate, meta[http-equiv], link[href*=evil], [onerror], [onload], [onfocus], "
    "[onmouseover], [ontoggle], [onstart], [onbegin], [href^=javascript], [action^=javascript]"
)


ALL = "".join(HOSTILE)  # where a page has one value only: in it every way out of an attribute
ONE = {"route": ROUTE, "name": evil(HOSTILE[0])}
SAID = [
    link("/streams", by="begins", text="evil/"),
    link("/streams", text=ALL),
    link("/streams", by="contains", text=ALL[:256]),
    *(link("/streams/one", **ONE, tab=it) for it in ("messages", "metadata", "change")),
    link("/streams/one", route=ROUTE, name="chat/0000", offset="-1"),
    link("/streams/one", route=ROUTE, name="chat/0000", tab="producers"),
    link("/streams/delete", prefix=ALL),
    link("/caches", target=f"{ROUTE}/{evil(HOSTILE[0])}"),
    link("/clients", show="tokens", kind=ALL, value=ALL, text=ALL),
    link("/clients", text=ALL),
    "/clients",
    "/subscriptions",
    link("/subscriptions", route=ROUTE, id=HOSTILE[0]),
]


async def test_forty_script_payloads_are_shown_as_text_on_every_page(
    browser: Browser, site: Filled
) -> None:
    assert len(set(HOSTILE)) == 40
    async with showing(browser, site.console) as tab:
        for path in SAID if IS_WHOLE else SAID[::3]:
            await tab.goto(path)
            await tab.page.locator("main").filter(has_text="alert").wait_for(timeout=5000)
            assert await tab.page.locator(FOREIGN).count() == 0, path
