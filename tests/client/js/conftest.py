"""One Headgate, one site and one browser for the tests of the npm package."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

import pytest
import pytest_asyncio

from headgate.runs import Runs
from tests.client.js.site import Site, chromium
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from playwright.async_api import BrowserContext

    from tests.support.processes import Headgate

CLOSING_S = 10.0


@pytest.fixture(scope="package")
def server(processes: None) -> Iterator[Headgate]:
    with headgate() as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def window(processes: None) -> AsyncIterator[BrowserContext]:
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="session")
async def tabs(window: BrowserContext) -> AsyncIterator[BrowserContext]:
    """The tabs of one browser: they share its storage, its locks and its six connections."""
    yield window
    for page in window.pages:
        async with asyncio.timeout(CLOSING_S):  # one that should have crashed may never answer
            await page.close()


@pytest_asyncio.fixture(loop_scope="session")
async def site(server: Headgate) -> AsyncIterator[Site]:
    runs = Runs(f"{server.streams}/{uuid.uuid4().hex}")
    try:
        async with Site(runs).served() as served:
            yield served
    finally:
        await runs.aclose(wait=0)
