"""Streams that operators create, and limits that they set, by forms and by the API."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.support.http1 import ask
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE = "/v1/stream"
VIEWER = "v" * 32


class Browser:
    """A browser without scripts at the console of a server."""

    def __init__(self, server: Headgate) -> None:
        self.server = server
        found = re.search(r'name="csrf" value="([^"]+)"', self.page("/streams/new"))
        assert found is not None
        self.csrf = found[1]

    def page(self, path: str) -> str:
        return ask(self.server.admin_port, "GET", path, Accept="text/html").body.decode()

    def send(self, path: str, **fields: str) -> tuple[int, str]:
        """Send a form; return the status, and where it leads or the page with the refusal."""
        answer = ask(
            self.server.admin_port,
            "POST",
            path,
            urlencode({"csrf": self.csrf, **fields}).encode(),
            Content_Type="application/x-www-form-urlencoded",
            Accept="text/html",
        )
        return answer.status, answer.get("location") or answer.body.decode()

    def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        answer = ask(
            self.server.admin_port,
            method,
            path,
            None if body is None else json.dumps(body).encode(),
            **{"X-CSRF-Token": self.csrf, "Content-Type": "application/json"},
        )
        return answer.status, answer.json()

    def stream(self, name: str) -> Any:
        return self.api("GET", f"/api/v1/stream?{urlencode({'route': ROUTE, 'name': name})}")[1]


@pytest.fixture(scope="module")
def browser(processes: None) -> Iterator[Browser]:
    with headgate(environment={"HEADGATE_LOG__FORMAT": "json"}) as server:
        yield Browser(server)


def form(**fields: str) -> dict[str, str]:
    return {"route": ROUTE, "content_type": "text/plain", **fields}


def test_a_stream_with_an_end_is_created_by_the_form(browser: Browser) -> None:
    name = "rooms/a b/<i>é?"
    status, there = browser.send("/streams/new", **form(name=name, ttl="600"))
    assert status == 303
    shown = browser.page(there)
    assert "The stream is created." in shown
    assert "<i>" not in shown
    found = browser.stream(name)
    assert found["row"]["name"] == "rooms/a%20b/%3Ci%3E%C3%A9%3F"
    assert found["row"]["content_type"] == "text/plain"
    assert found["limits"]["ttl"] == 600
    lines = [json.loads(it) for it in browser.server.output().splitlines() if '"create"' in it]
    changed = [(it["event"], it["by"]) for it in lines if it["stream"] == name]
    assert changed == [("admin.changed", "an unnamed operator")]


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        pytest.param({"name": ""}, "A stream needs a name", id="no-name"),
        pytest.param({"name": "a//b"}, "empty segment", id="an-empty-segment"),
        pytest.param({"name": "there"}, "There is a stream with this name", id="a-name-in-use"),
        pytest.param({"name": "b", "content_type": "none"}, "Content-Type", id="no-media-type"),
        pytest.param({"name": "b", "ttl": "soon"}, "Ends after so long unused", id="no-number"),
        pytest.param({"name": "b", "ttl": "-1"}, "Ends after so long unused", id="below-zero"),
        pytest.param({"name": "b", "expires_at": "soon"}, "RFC 3339", id="no-timestamp"),
        pytest.param({"name": "b", "expires_at": "x\r\nA: b"}, "characters", id="a-line-break"),
        pytest.param(
            {"name": "b", "ttl": "1", "expires_at": "2100-01-01T00:00:00Z"},
            "exclude each other",
            id="two-ends",
        ),
        pytest.param({"name": "b", "route": "/no"}, "No route has this prefix", id="no-route"),
    ],
)
def test_a_form_that_creates_no_stream_is_shown_again_with_the_reason(
    fields: dict[str, str], why: str, browser: Browser
) -> None:
    ask(browser.server.port, "PUT", f"{ROUTE}/there", Content_Type="text/plain")
    status, shown = browser.send("/streams/new", **form(**fields))
    assert 400 <= status < 500
    assert why in shown
    assert f'value="{fields["name"]}"' in shown
    assert ask(browser.server.port, "HEAD", f"{ROUTE}/b").status == 404


def test_the_api_creates_a_stream_and_refuses_a_second_one(browser: Browser) -> None:
    path = f"/api/v1/stream?route={ROUTE}&name=by-api"
    wish = {"content_type": "application/json", "expires_at": "2100-01-01T00:00:00Z"}
    status, found = browser.api("PUT", path, wish)
    assert (status, found["row"]["name"]) == (200, "by-api")
    assert found["row"]["expires_at"] == pytest.approx(4102444800, abs=0.001)
    assert browser.api("PUT", path, wish)[0] == 409


def test_a_stream_of_an_origin_is_created_by_the_form_and_the_api(browser: Browser) -> None:
    with headgate(f"http://127.0.0.1:{browser.server.port}{ROUTE}") as server:
        before = Browser(server)
        status, there = before.send("/streams/new", **form(name="at-origin"))
        assert status == 303
        assert "The stream is created." in before.page(there)
        assert browser.stream("at-origin")["row"]["content_type"] == "text/plain"
        path, wish = f"/api/v1/stream?route={ROUTE}&name=by%20api", {"content_type": "text/plain"}
        status, found = before.api("PUT", path, wish)
        assert (status, found["row"]["name"]) == (200, "by%20api")
        assert before.api("PUT", path, wish)[0] == 409
        # The gateway has neither read nor followed it.
        assert before.api("GET", path)[0] == 404


def test_limits_are_set_and_taken_back_by_the_form_of_a_stream(browser: Browser) -> None:
    ask(browser.server.port, "PUT", f"{ROUTE}/limited", Content_Type="text/plain", Stream_TTL="900")
    path = f"/streams/one?{urlencode({'route': ROUTE, 'name': 'limited', 'tab': 'change'})}"
    assert "now 900, as created" in browser.page(path)
    fields = {"ttl": "", "retention_age": "60", "retention_size": "0", "retention_messages": ""}
    status, there = browser.send(path, action="limit", **fields)
    assert status == 303
    assert "The limits are set." in browser.page(there)
    limits = browser.stream("limited")["limits"]
    assert (limits["ttl"], limits["retention_age"]) == (900, 60)
    assert limits["own"] == ["retention_age", "retention_size"]
    status, shown = browser.send(path, action="limit", **fields)
    assert (status, "nothing was changed" in shown) == (400, True)
    status, shown = browser.send(path, action="limit", **{**fields, "retention_age": "<b>"})
    assert (status, "Keep messages for (seconds)" in shown) == (400, True)
    assert 'value="&lt;b&gt;"' in shown
    assert browser.send(path, action="limit", **dict.fromkeys(fields, ""))[0] == 303
    assert browser.stream("limited")["limits"]["own"] == []
