"""One site, whose figures are made up, and one tab for those who only look."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest_asyncio

from tests.admin.browser.made_up import MadeUp
from tests.admin.browser.serving import Tab, application
from tests.support.admin_server import AdminServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def site() -> AsyncIterator[str]:
    """Where pages with made-up figures are, which no test changes."""
    async with AdminServer(application(MadeUp())) as server:
        yield str(server.make_url("/")).rstrip("/")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tab(browser: Browser, site: str) -> Tab:
    """Return a tab for tests that only look: another one would cost most of a second of a core."""
    return await Tab.open(browser, site, "/gateways")
