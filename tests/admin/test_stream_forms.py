"""Streams that operators create, and limits that they set, by forms and by the API."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import pytest

from tests.admin.asking import page, submitted, told
from tests.support.http1 import ask
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUTE = "/v1/stream"


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Headgate]:
    with headgate(environment={"HEADGATE_LOG__FORMAT": "json"}) as started:
        yield started


def api(server: Headgate, method: str, path: str, body: object = None) -> tuple[int, Any]:
    return told(server, method, path, body, token="")


def stream(server: Headgate, name: str) -> Any:
    query = urlencode({"route": ROUTE, "name": name})
    return api(server, "GET", f"/api/v1/stream?{query}")[1]


def form(**fields: str) -> dict[str, str]:
    return {"route": ROUTE, "content_type": "text/plain", **fields}


def test_a_stream_with_an_end_is_created_by_the_form(server: Headgate) -> None:
    name = "rooms/a b/<i>é?"
    status, shown = submitted(server, "/streams/new", **form(name=name, ttl="600"))
    assert status == 303
    assert "The stream is created." in shown
    assert "<i>é" not in shown
    found = stream(server, name)
    assert found["row"]["name"] == "rooms/a%20b/%3Ci%3E%C3%A9%3F"
    assert found["row"]["content_type"] == "text/plain"
    assert found["limits"]["ttl"] == 600
    lines = [json.loads(it) for it in server.output().splitlines() if '"create"' in it]
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
    fields: dict[str, str], why: str, server: Headgate
) -> None:
    ask(server.port, "PUT", f"{ROUTE}/there", Content_Type="text/plain")
    status, shown = submitted(server, "/streams/new", **form(**fields))
    assert 400 <= status < 500
    assert why in shown
    assert f'value="{fields["name"]}"' in shown
    assert ask(server.port, "HEAD", f"{ROUTE}/b").status == 404


def test_the_api_creates_a_stream_and_refuses_a_second_one(server: Headgate) -> None:
    path = f"/api/v1/stream?route={ROUTE}&name=by-api"
    wish = {"content_type": "application/json", "expires_at": "2100-01-01T00:00:00Z"}
    status, found = api(server, "PUT", path, wish)
    assert (status, found["row"]["name"]) == (200, "by-api")
    assert found["row"]["expires_at"] == pytest.approx(4102444800, abs=0.001)
    assert api(server, "PUT", path, wish)[0] == 409


def test_a_stream_of_an_origin_is_created_by_the_form_and_the_api(server: Headgate) -> None:
    with headgate(f"http://127.0.0.1:{server.port}{ROUTE}") as before:
        status, shown = submitted(before, "/streams/new", **form(name="at-origin"))
        assert (status, "The stream is created." in shown) == (303, True)
        assert stream(server, "at-origin")["row"]["content_type"] == "text/plain"
        path, wish = f"/api/v1/stream?route={ROUTE}&name=by%20api", {"content_type": "text/plain"}
        status, found = api(before, "PUT", path, wish)
        assert (status, found["row"]["name"]) == (200, "by%20api")
        assert api(before, "PUT", path, wish)[0] == 409
        # The gateway has neither read nor followed it.
        assert api(before, "GET", path)[0] == 404


def test_limits_are_set_and_taken_back_by_the_form_of_a_stream(server: Headgate) -> None:
    ask(server.port, "PUT", f"{ROUTE}/limited", Content_Type="text/plain", Stream_TTL="900")
    path = f"/streams/one?{urlencode({'route': ROUTE, 'name': 'limited', 'tab': 'change'})}"
    assert "now 900, as created" in page(server, path, "")
    fields = {"ttl": "", "retention_age": "60", "retention_size": "0", "retention_messages": ""}
    status, shown = submitted(server, path, action="limit", **fields)
    assert (status, "The limits are set." in shown) == (303, True)
    limits = stream(server, "limited")["limits"]
    assert (limits["ttl"], limits["retention_age"]) == (900, 60)
    assert limits["own"] == ["retention_age", "retention_size"]
    status, shown = submitted(server, path, action="limit", **fields)
    assert (status, "nothing was changed" in shown) == (400, True)
    status, shown = submitted(server, path, action="limit", **{**fields, "retention_age": "<b>"})
    assert (status, "Keep messages for (seconds)" in shown) == (400, True)
    assert 'value="&lt;b&gt;"' in shown
    assert submitted(server, path, action="limit", **dict.fromkeys(fields, ""))[0] == 303
    assert stream(server, "limited")["limits"]["own"] == []
