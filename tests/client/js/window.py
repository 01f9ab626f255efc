"""A Chromium whose tabs are in the background, and can be frozen, as those of a user."""

from __future__ import annotations

import asyncio
import contextlib
import re
import tempfile
from typing import TYPE_CHECKING

from playwright.async_api import async_playwright

from tests.support.unmodified_clients import CHROMIUM

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import BrowserContext


@contextlib.asynccontextmanager
async def chromium() -> AsyncIterator[BrowserContext]:
    """Run a browser, of whose tabs at most one is seen.

    Without `no_defaults` each tab would count as seen and in use, and no such tab can be frozen.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        process = await asyncio.create_subprocess_exec(
            *CHROMIUM,
            "--remote-debugging-port=0",
            f"--user-data-dir={profile}",
            "about:blank",
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stderr is not None, "it is a pipe"
            async with async_playwright() as tool:
                address = await _address(process.stderr)
                browser = await tool.chromium.connect_over_cdp(address, no_defaults=True)
                yield browser.contexts[0]
        finally:
            process.terminate()
            await process.communicate()


async def _address(output: asyncio.StreamReader) -> str:
    async for line in output:
        if found := re.search(rb"ws://\S+", line):
            return found[0].decode()
    raise AssertionError("Chromium has ended")
