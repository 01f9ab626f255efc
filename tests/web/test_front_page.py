"""The page at `/`, for people and for programs."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.web.handlers.front_page import ServerPaths, front_page, prefers_html
from tests.clients.pages import chromium
from tests.support.guarded_gateway import guarded
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, request, serving

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.http1 import Answer

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"
AS_A_BROWSER = f"Accept: {BROWSER}"


async def asked(*lines: str, method: str = "GET", path: str = "/", version: str = "1.1") -> Answer:
    async with serving() as gateway:
        return await gateway.ask(request(method, path, *lines, version=version))


def curl_lines(page: str) -> list[str]:
    """The URLs that the page shows in commands, as a reader copies them."""
    return [url.replace("&amp;", "&") for url in re.findall(r"curl -\w '([^']*)'", page)]


async def test_the_front_page_lists_the_route_prefixes_as_json_without_their_origins() -> None:
    async with RawOrigin(answer(b"")) as origin, edge_serving(origin) as gateway:
        told = await gateway.ask(request("GET", "/", "Accept: */*"))
    assert told.status == 200
    assert told.get("Content-Type") == "application/json"
    assert json.loads(told.body) == {
        "name": "Headgate",
        "protocol": "Durable Streams",
        "routes": [{"prefix": PREFIX}, {"prefix": EDGE}],
    }


async def test_the_front_page_shows_a_browser_curl_commands_for_its_host() -> None:
    told = await asked(AS_A_BROWSER)
    assert told.status == 200
    assert told.get("Content-Type") == "text/html; charset=utf-8"
    page = told.body.decode()
    assert f"<li><code>{PREFIX}/</code></li>" in page
    assert curl_lines(page) == [
        f"http://headgate.test{PREFIX}/NAME?offset=-1",
        f"http://headgate.test{PREFIX}/NAME?offset=-1&live=sse",
    ]


async def test_front_page_urls_have_the_scheme_and_host_of_the_request() -> None:
    """They use https behind a proxy with TLS, and a placeholder without a host."""
    told = await asked(AS_A_BROWSER, "X-Forwarded-Proto: https")
    assert curl_lines(told.body.decode())[0].startswith(f"https://headgate.test{PREFIX}/")
    async with serving() as gateway:
        told = await gateway.ask(f"GET / HTTP/1.0\r\n{AS_A_BROWSER}\r\n\r\n".encode())
    assert curl_lines(told.body.decode())[0].startswith(f"http://HOST{PREFIX}/")


def test_the_front_page_escapes_the_host_and_the_prefixes() -> None:
    hostile = "http://<script>alert(1)</script>\"'&\u202e"
    page = front_page("GET", ServerPaths(hostile, ["/<b>"], ["/<b>/m"]), BROWSER).body.decode()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&#x27;" in page


@pytest.mark.parametrize(
    ("path", "status"), [("/?a=b", 200), ("/%2F", 404), ("//", 400), ("/.", 400), ("/x", 404)]
)
async def test_only_the_root_path_is_the_front_page(path: str, status: int) -> None:
    assert (await asked(path=path)).status == status


@pytest.mark.parametrize(
    ("accept", "is_page"),
    [
        pytest.param(BROWSER, True, id="a-browser"),
        ("text/html", True),
        ("TEXT/HTML ; charset=utf-8", True),
        ("application/json, text/html", True),
        ("application/json;q=0.9, text/html", True),
        ("text/html;q=0.8, */*;q=0.8", True),
        ("", False),
        ("*/*", False),
        ("text/*", False),
        ("application/json", False),
        ("text/html;q=0.8, application/json", False),
        ("text/html;q=0.8, */*", False),
        ("text/html;q=0.5, application/*;q=0.6, */*;q=0.1", False),
        ("text/html;q=0", False),
        ("text/html;q=nan", False),
        ("text/html;q=1.1", False),
        ("text/html;q=", False),
        (",;,q=1;;", False),
    ],
)
def test_the_front_page_is_html_if_accept_prefers_html_to_json(accept: str, is_page: bool) -> None:
    assert prefers_html(accept) is is_page


@pytest.mark.usefixtures("processes")
async def test_the_front_page_fits_a_small_screen_without_browser_errors() -> None:
    complaints: list[Any] = []
    requests: list[str] = []
    async with serving() as gateway, chromium() as browser:
        page = await browser.new_page(viewport={"width": 360, "height": 640})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("request", lambda asked: requests.append(asked.url))
        url = f"http://127.0.0.1:{gateway.port}/"
        await page.goto(url)
        assert await page.title() == "Headgate"
        assert await page.evaluate("document.documentElement.scrollWidth") == 360
        styled = "getComputedStyle(document.querySelector('pre')).whiteSpace"
        assert await page.evaluate(styled) == "pre-wrap"
    assert complaints == []
    assert [one for one in requests if not one.startswith("data:")] == [url]


@pytest.mark.parametrize("path", ["/healthz", "/healthz?verbose", "http://headgate.test/healthz"])
async def test_healthz_answers_ok_to_a_get_and_405_with_allow_to_a_post(path: str) -> None:
    response = await asked(path=path)
    assert (response.status, response.body) == (200, b"ok\n")
    assert response.get("Cache-Control") == "no-store"

    response = await asked(method="POST", path="/healthz")
    response.assert_problem(405, "/healthz")
    assert response.get("Allow") == "GET, HEAD"


async def test_the_front_page_of_guarded_streams_has_one_referrer_policy(tmp_path: Path) -> None:
    async with guarded(tmp_path) as gateway:
        told = await gateway.ask(request("GET", "/", AS_A_BROWSER))
    assert told.get("Referrer-Policy") == "no-referrer"
