"""A browser that notices what a page must not do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.support.passwords import cheap_hash
from tests.support.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from playwright.async_api import Browser, BrowserContext, Page, Request

PASSWORD = "correct horse battery staple"
HASH = cheap_hash(PASSWORD)
AXE = ROOT / "tests" / "node" / "node_modules" / "axe-core" / "axe.min.js"
# Whoever breaks the policy is told on the console as well, but not in every version.
WATCH_POLICY = """
window.broken = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.broken.push(`${event.violatedDirective} ${event.blockedURI}`));
"""
# Playwright takes longer to pass on all that axe tells than axe takes to find it.
FOUND = """async (options) => (await axe.run(options)).violations
  .filter((it) => ["moderate", "serious", "critical"].includes(it.impact))
  .map((it) => `${it.id}: ${JSON.stringify(it.nodes.map((node) => node.html)).slice(0, 500)}`)"""


class Tab:
    """A page in a browser of its own cookies, and what went wrong on it."""

    def __init__(self, context: BrowserContext, page: Page, base: str) -> None:
        self.context = context
        self.page = page
        self.base = base
        self.wrong: list[str] = []
        page.on("console", lambda line: self._note(line.type in {"error", "warning"}, line.text))
        page.on("pageerror", lambda error: self._note(True, str(error)))
        page.on("dialog", lambda dialog: self._note(True, f"a dialog: {dialog.message}"))
        page.on("request", self._on_request)

    @classmethod
    async def open(cls, browser: Browser, base: str, path: str = "/", **options: Any) -> Tab:
        """A tab that shows this path."""
        context = await browser.new_context(reduced_motion="reduce", **options)
        await context.add_init_script(WATCH_POLICY)
        tab = cls(context, await context.new_page(), base)
        await tab.goto(path)
        return tab

    async def goto(self, path: str) -> None:
        await self.page.goto(self.base + path)

    async def close(self) -> list[str]:
        """Close it; all that went wrong."""
        wrong = await self.take_wrong()
        await self.context.close()
        return wrong

    async def take_wrong(self) -> list[str]:
        """Return what went wrong since this was last asked for."""
        wrong, self.wrong = self.wrong, []
        return wrong + list(await self.page.evaluate("window.broken ?? []"))

    async def inaccessible(self, *rules: str) -> list[str]:
        """What axe finds moderate or worse, by these rules or by all."""
        if not await self.page.evaluate("'axe' in window"):
            await self.page.evaluate(AXE.read_text())
        options: dict[str, Any] = {"resultTypes": ["violations"], "selectors": False}
        if rules:
            options["runOnly"] = list(rules)
        return list(await self.page.evaluate(FOUND, options))

    async def is_wider_than_its_window(self) -> bool:
        """Return whether the page is too wide; its bar of links may scroll."""
        return bool(
            await self.page.evaluate(
                "document.documentElement.scrollWidth > document.documentElement.clientWidth"
            )
        )

    async def too_narrow(self, widths: Sequence[int], height: int) -> list[int]:
        """Return the widths at which the page is wider than its window; the last one stays.

        The browser is told by itself: Playwright would resize a window as well, which takes three
        times as long.
        """
        devtools = await self.context.new_cdp_session(self.page)
        size = {"height": height, "deviceScaleFactor": 1, "mobile": False}
        found = []
        for width in widths:
            await devtools.send("Emulation.setDeviceMetricsOverride", {"width": width, **size})
            assert await self.page.evaluate("window.innerWidth") == width
            if await self.is_wider_than_its_window():
                found.append(width)
        return found

    def _note(self, is_wrong: bool, what: str) -> None:
        if is_wrong:
            self.wrong.append(what)

    def _on_request(self, request: Request) -> None:
        here = urlsplit(self.base).netloc
        asked = urlsplit(request.url)
        self._note(asked.scheme != "data" and asked.netloc != here, f"a request: {request.url}")


@asynccontextmanager
async def showing(
    browser: Browser, base: str, path: str = "/", **options: Any
) -> AsyncIterator[Tab]:
    """A page of the console at this URL; nothing may have gone wrong on it in the end."""
    tab = await Tab.open(browser, base.rstrip("/"), path, **options)
    yield tab
    assert await tab.close() == []
