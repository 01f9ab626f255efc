"""A page of another origin sees which of its reads had a copy at the edge."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cdn.candidates import Candidate
from tests.cdn.candidates import edge as started_edge
from tests.cdn.read_cases import whole_chunk

if TYPE_CHECKING:
    from playwright.async_api import Browser

    from tests.cdn.origin import HeadgateOrigin

READ_TWICE = """async (url) => {
  for (const _ of [1, 2]) await (await fetch(url, { cache: "no-store" })).text();
  const entries = performance.getEntriesByName(url);
  return entries.map((entry) => entry.serverTiming.map((one) => `${one.name} ${one.description}`));
}"""


@pytest.mark.asyncio(loop_scope="session")
@pytest.mark.parametrize("name", ["nginx", "varnish", "cloudflare-worker"])
async def test_a_page_of_another_origin_sees_the_hits_of_its_own_reads(
    browser: Browser, origin: HeadgateOrigin, name: str
) -> None:
    with started_edge(Candidate(name), origin) as edge:
        page = await browser.new_page()
        try:
            await page.goto(f"http://127.0.0.1:{origin.port}/healthz")
            url = f"http://127.0.0.1:{edge.port}{whole_chunk(edge)}"
            assert await page.evaluate(READ_TWICE, url) == [["cache miss"], ["cache hit"]]
        finally:
            await page.close()
