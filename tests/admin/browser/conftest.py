"""One real gateway that has something to show, and one tab for those who only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.admin.browser.filled import Filled, filled
from tests.admin.browser.serving import Tab

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site(processes: None) -> AsyncIterator[Filled]:
    """The gateway that tests look at. What a test changes in it, it names as its own."""
    async with filled() as gateway:
        yield gateway


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tab(browser: Browser, site: Filled) -> Tab:
    """Return a tab for tests that only look: another one would cost most of a second of a core."""
    return await Tab.open(browser, site.console, "/gateways")
