"""Every page of the console: for axe by day and night, on all widths, by keyboard, without scripts.

A new page is found by its path, and needs no line here; `filled` must have something to show on it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Literal

import pytest
import pytest_asyncio

from headgate_admin.app import build
from tests.admin.browser.every_page import KNOWN, PAGES, PATHS, STATES, STREAM
from tests.admin.browser.serving import HASH, PASSWORD, Tab
from tests.admin.consoles import Switchboard, setup
from tests.support.admin_server import AdminServer
from tests.support.examples import IS_WHOLE, cases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser

    from tests.admin.browser.filled import Filled

pytestmark = pytest.mark.asyncio(loop_scope="session")

HEIGHT = 900
WIDE, NARROW = 1280, 360
# By day and by night: axe looks at each page in each of them, as long as tests play whole.
WINDOWS = (1440, WIDE, 768, 390) if IS_WHOLE else (WIDE,)
# The narrowest of each layout of the style sheet; between them are wider windows with the same
# layout, which have more room. The last is that of most tests.
LAYOUTS = (320, 601, 761, 1081, WIDE)
WIDTHS = (NARROW, 600, 760, 1024, 1080, 1920, *LAYOUTS) if IS_WHOLE else LAYOUTS
ALIKE = {
    "/streams?route=/v1/audit",
    f"{STREAM}&tab=readers",
    f"{STREAM}&tab=producers",
}
# Of pages with parts that others have as well: charts, tables, messages, forms and states stay.
WITH_OTHERS_PARTS = ALIKE | KNOWN | {f"{STREAM}&tab=metadata"}
CONTROLS = "a[href], button, input:not([type=hidden]), select, textarea, summary, [tabindex='0']"
# Found anew for each key, since a live page may replace controls meanwhile.
FIND_CONTROLS = f"""[...document.querySelectorAll("{CONTROLS}")]
  .filter((it) => !it.disabled && it.tabIndex >= 0 && it.checkVisibility())"""
WATCH_FOCUS = f"""() => {{
  window.focused = [];
  document.addEventListener("focusin", () => {{
    const it = document.activeElement, style = getComputedStyle(it);
    const isMarked = style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0;
    focused.push([{FIND_CONTROLS}.indexOf(it), isMarked ? "" : it.outerHTML.slice(0, 200)]);
  }});
}}"""
# On a phone, where each row is a card: tables that scroll sideways, and figures without a name.
NO_CARDS = """() => [
  ...[...document.querySelectorAll(".scroll")].filter((it) => it.scrollWidth > it.clientWidth),
  ...[...document.querySelectorAll("tbody td.right:not([data-head])")].filter(
    (it) => it.checkVisibility()),
].map((it) => it.outerHTML.slice(0, 200))"""
NEEDS_SCRIPTS = """() => {
  const shown = (it) => it.checkVisibility();
  const submits = "button:not([type=button]), input[type=submit]";
  const isUsed = (it) => it.type !== "hidden";
  const forms = [...document.forms].filter(
    (form) => form.method !== "dialog" && [...form.elements].some(isUsed));
  return [
    ...[...document.querySelectorAll("button[type=button], a[href='#'], [onclick]")].filter(shown),
    ...forms.filter((form) => ![...form.elements].some((it) => it.matches(submits))),
  ].map((it) => it.outerHTML.slice(0, 200));
}"""


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def plain_tab(browser: Browser, site: Filled) -> AsyncIterator[Tab]:
    """A tab without scripts."""
    tab = await Tab.open(browser, site.console, "/gateways", java_script_enabled=False)
    yield tab
    await tab.context.close()


async def test_every_page_of_the_site_is_among_those_that_are_examined() -> None:
    assert {page.partition("?")[0] for page in PAGES} == set(PATHS)
    assert set(STATES) | KNOWN <= set(PATHS)


@pytest.mark.parametrize("path", cases(PAGES, set(PAGES) - ALIKE, "other tabs of the same page"))
async def test_each_page_is_accessible_by_day_and_fits_every_width(tab: Tab, path: str) -> None:
    await tab.take_wrong()  # of the page before
    await tab.page.emulate_media(color_scheme="light")
    await tab.page.set_viewport_size({"width": WIDE, "height": HEIGHT})
    answer = await tab.page.goto(tab.base + path)
    assert answer is not None
    assert answer.status == 200
    assert await tab.page.locator("h1").count() == 1
    for width in WINDOWS:
        await tab.page.set_viewport_size({"width": width, "height": HEIGHT})
        assert await tab.inaccessible() == [], width
    assert await tab.too_narrow(WIDTHS, HEIGHT) == []
    assert await tab.too_narrow([NARROW], HEIGHT) == []
    assert await tab.page.evaluate(NO_CARDS) == []
    assert await tab.take_wrong() == []


@pytest.mark.parametrize(
    "path", cases(PAGES, set(PAGES) - WITH_OTHERS_PARTS, "pages with the same parts")
)
async def test_each_page_is_accessible_in_the_dark(tab: Tab, path: str) -> None:
    """The same document as by day: what can differ is its colours and its layout."""
    await tab.take_wrong()  # of the page before
    await tab.page.emulate_media(color_scheme="dark")
    await tab.goto(path)
    for width in WINDOWS if IS_WHOLE else (NARROW,):
        await tab.page.set_viewport_size({"width": width, "height": HEIGHT})
        assert await tab.inaccessible() == [], width
    assert await tab.take_wrong() == []


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(
    "path", cases(PAGES, set(PAGES) - WITH_OTHERS_PARTS, "pages with the same parts")
)
async def test_the_tab_key_reaches_every_control_in_reading_order_with_a_visible_focus(
    tab: Tab, path: str
) -> None:
    await tab.page.set_viewport_size({"width": WIDE, "height": HEIGHT})
    await tab.goto(path)
    if path == STREAM:  # its script adds the messages
        await tab.page.get_by_text("following").wait_for()
    count = await tab.page.evaluate(f"{FIND_CONTROLS}.length")
    await tab.page.evaluate(WATCH_FOCUS)
    # All at once: to wait for each would take three times as long.
    await asyncio.gather(*(tab.page.keyboard.press("Tab") for _ in range(count)))
    focused = await tab.page.evaluate("focused")
    assert [place for place, _ in focused] == list(range(count))
    assert [why for _, why in focused if why] == []
    assert count > 10


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("path", PAGES)
async def test_each_page_works_without_scripts(plain_tab: Tab, path: str) -> None:
    answer = await plain_tab.page.goto(plain_tab.base + path)
    assert answer is not None
    assert answer.status == 200
    assert await plain_tab.page.locator("h1").count() == 1
    assert await plain_tab.page.evaluate(NEEDS_SCRIPTS) == []
    assert len((await plain_tab.page.locator("main").inner_text()).splitlines()) > 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_form_to_sign_in_is_accessible_and_works_without_scripts(
    browser: Browser, scheme: Literal["light", "dark"]
) -> None:
    user = {"name": "ada", "role": "viewer", "password_hash": HASH}
    async with AdminServer(build(Switchboard(), setup(admin_users=[user]))) as server:
        base = str(server.make_url("/")).rstrip("/")
        tab = await Tab.open(browser, base, color_scheme=scheme)
        assert tab.page.url.startswith(f"{base}/sign-in")
        assert await tab.inaccessible() == []
        assert await tab.too_narrow(WIDTHS, HEIGHT) == []
        assert await tab.close() == []
        tab = await Tab.open(browser, base, java_script_enabled=False)
        await tab.page.get_by_label("Name").fill("ada")
        await tab.page.get_by_label("Password").fill(PASSWORD)
        await tab.page.keyboard.press("Enter")
        await tab.page.get_by_role("heading", name="Overview").wait_for()
        await tab.context.close()
