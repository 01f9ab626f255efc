"""How many EventSources of one page are live: by HTTP/1.1 six, by HTTP/2 of the front many."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import sync_playwright

from tests.front.fronted import HERE, HOST, Fronted, fronted
from tests.support.unmodified_clients import CHROMIUM

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page

OPENED = 20
BY_HTTP_1 = 6  # connections of a browser to one host
# Each waits for the event that a live read begins with: then the request was answered.
OPEN = """([url, count]) => {
  window.live = new Set();
  for (let number = 0; number < count; number += 1) {
    const source = new EventSource(url);
    source.addEventListener("control", () => window.live.add(source));
  }
}"""


@contextmanager
def page_of(server: Fronted) -> Iterator[Page]:
    """A page in a browser to which the front's host leads to the front."""
    path, _, *arguments = CHROMIUM
    leads_here = f"--host-resolver-rules=MAP {HOST} {HERE}"
    with sync_playwright() as tool:
        browser = tool.chromium.launch(executable_path=path, args=[*arguments, leads_here])
        try:
            yield browser.new_page(ignore_https_errors=True, bypass_csp=True)
        finally:
            browser.close()


def open_sources(page: Page, base: str, least: int) -> int:
    """Open them from a page of the same origin, wait for the least, and count those that live."""
    page.goto(f"{base}/")
    page.evaluate(OPEN, [f"{base}/v1/stream/page?offset=-1&live=sse", OPENED])
    page.wait_for_function(f"window.live.size >= {least}")
    return int(page.evaluate("window.live.size"))


@pytest.mark.usefixtures("processes")
def test_twenty_event_sources_of_a_page_are_live_by_the_front_and_six_without(
    tmp_path: Path,
) -> None:
    with fronted(tmp_path) as server:
        server.put("page", "hello")
        with page_of(server) as page:
            assert open_sources(page, server.front, OPENED) == OPENED
        with page_of(server) as page:
            assert open_sources(page, server.url, BY_HTTP_1) == BY_HTTP_1
            # The seventh waits for a connection, until one of the six is closed.
            page.evaluate("[...window.live][0].close()")
            page.wait_for_function(f"window.live.size > {BY_HTTP_1}")
            assert page.evaluate("window.live.size") == BY_HTTP_1 + 1
