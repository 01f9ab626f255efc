"""A page that somebody has written into a stream, and a browser that is led to it (S23)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.clients.pages import chromium
from tests.support.serving import PREFIX, get, put, serving

if TYPE_CHECKING:
    from collections.abc import Callable

ACTS = 'document.title = "acted"; fetch("stolen", {method: "PUT"})'
PAGES = {
    "text/html": f"<!doctype html><title>calm</title><script>{ACTS}</script>"
    f"<img src=x: onerror='{ACTS}'>",
    "text/html; charset=utf-8": f"<!doctype html><body onload='{ACTS}'>",
    "TEXT/HTML": f"<!doctype html><script>{ACTS}</script>",
    "image/svg+xml": '<svg xmlns="http://www.w3.org/2000/svg"><script>'
    'fetch("stolen", {method: "PUT"})</script></svg>',
    "application/xhtml+xml": f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title>calm</title>'
    f"<script>{ACTS.replace('&', '&amp;')}</script></head></html>",
    "text/xml": '<x:script xmlns:x="http://www.w3.org/1999/xhtml">'
    'fetch("stolen", {method: "PUT"})</x:script>',
    "application/atom+xml": '<x:script xmlns:x="http://www.w3.org/1999/xhtml">'
    'fetch("stolen", {method: "PUT"})</x:script>',
    "text/plain": f"<script>{ACTS}</script>",
    "application/json": f'["<script>{ACTS}</script>"]'.replace('"acted"', "1")
    .replace('"PUT"', "1")
    .replace('"stolen"', "1"),
    "application/octet-stream": f"<script>{ACTS}</script>",
    "application/vnd.any": f"<!doctype html><script>{ACTS}</script>",
}


@pytest.mark.usefixtures("processes")
async def test_a_page_stored_in_a_stream_cannot_write_from_a_browser(
    tell: Callable[[str], None],
) -> None:
    """Its browser would let it write: it is a page of the host itself."""
    async with serving() as gateway, chromium() as browser:
        page = await browser.new_page()
        for number, (content_type, body) in enumerate(PAGES.items()):
            made = await gateway.ask(
                put(str(number), content_type=content_type, body=body.encode())
            )
            assert made.status == 201
            url = f"http://127.0.0.1:{gateway.port}{PREFIX}/{number}?offset=-1"
            if not content_type.endswith(("octet-stream", "any")):  # those are saved, not shown
                await page.goto(url, wait_until="load")
                assert await page.title() != "acted"
        assert (await gateway.ask(get("stolen"))).status == 404
    tell(f"{len(PAGES)} pages")


@pytest.mark.parametrize("content_type", PAGES)
async def test_html_and_xml_streams_are_served_with_a_sandbox_policy(content_type: str) -> None:
    is_page = content_type.lower().startswith("text/html") or content_type.endswith("xml")
    async with serving() as gateway:
        await gateway.ask(put("s", content_type=content_type, body=b"[]"))
        for query in ("?offset=-1", "?offset=now", ""):
            answer = await gateway.ask(get(f"s{query}"))
            assert answer.get("content-security-policy") == ("sandbox" if is_page else None)
