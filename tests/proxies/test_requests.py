"""Requests to a proxy: what is wrong with them, what goes on to the upstream, and pages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.proxies.serving import (
    PREFIX,
    SERVICE,
    TOKEN,
    create,
    created,
    gateway_with_proxy,
    proxies,
    written,
)
from tests.support.given_settings import variables
from tests.support.processes import AT_ONCE, HEADGATE, run

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientSession

    from tests.proxies.upstream import Upstream
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

URL = ("Upstream-URL", "http://127.0.0.1:9/v1")
GET, POST = ("Upstream-Method", "GET"), ("Upstream-Method", "POST")
MISTAKES: dict[str, tuple[list[tuple[str, str]], str]] = {
    "no URL": ([POST], "MISSING_UPSTREAM_URL"),
    "an empty URL": ([("Upstream-URL", ""), POST], "MISSING_UPSTREAM_URL"),
    "two URLs": ([URL, URL, POST], "MISSING_UPSTREAM_URL"),
    "no method": ([URL], "MISSING_UPSTREAM_METHOD"),
    "two methods": ([URL, GET, POST], "MISSING_UPSTREAM_METHOD"),
    "a method that is not passed on": (
        [URL, ("Upstream-Method", "TRACE")],
        "INVALID_UPSTREAM_METHOD",
    ),
    "a method with a line of its own": (
        [URL, ("Upstream-Method", "GET / HTTP/1.1")],
        "INVALID_UPSTREAM_METHOD",
    ),
    "two authorizations": (
        [URL, GET, ("Upstream-Authorization", "a"), ("Upstream-Authorization", "b")],
        "INVALID_UPSTREAM_AUTHORIZATION",
    ),
}
NOT_ALLOWED = {
    "text that is no URL": "not-a-url",
    "another scheme": "ftp://127.0.0.1/v1",
    "a host that is not allowed": "https://evil.example/steal",
    "another port of an allowed host": "http://public.example:8080/",
    "a password": "http://user:hunter2@127.0.0.1:9/",
    "metadata by a host that is allowed inside": "http://169.254.169.254/latest/meta-data/",
    "loopback by a host that is allowed outside": "http://localhost:9/",
    "loopback as a number": "http://2130706433:9/",
}


@pytest.mark.parametrize(("fields", "code"), MISTAKES.values(), ids=MISTAKES)
async def test_a_mistake_in_a_header_has_a_code_of_its_own(
    http: ClientSession,
    gateway: Headgate,
    fields: list[tuple[str, str]],
    code: str,
) -> None:
    headers = [*SERVICE.items(), *fields]
    async with http.post(gateway.url + PREFIX, headers=headers) as answer:
        assert answer.status == 400
        assert answer.content_type == "application/json"
        error = (await answer.json())["error"]
    assert error["code"] == code
    assert error["message"]


@pytest.mark.parametrize("url", NOT_ALLOWED.values(), ids=NOT_ALLOWED)
async def test_an_upstream_that_is_not_allowed_is_refused_without_a_connection(
    http: ClientSession, tmp_path: Path, url: str
) -> None:
    settings = {
        "allow": ["http://public.example", "http://localhost:9"],
        "allow_inside": ["http://127.0.0.1:9", "http://169.254.169.254"],
    }
    with gateway_with_proxy(tmp_path, settings) as gateway:
        async with create(http, gateway, url) as answer:
            assert answer.status == 403
            error = (await answer.json())["error"]
        assert error["code"] == "UPSTREAM_NOT_ALLOWED"
        assert "hunter2" not in error["message"]


async def test_without_allowed_hosts_every_upstream_is_refused(
    http: ClientSession, tmp_path: Path
) -> None:
    with gateway_with_proxy(tmp_path, {"allow_inside": []}) as gateway:
        async with create(http, gateway, "https://api.openai.com/v1/models", "GET") as answer:
            assert answer.status == 403


async def test_an_action_other_than_abort_is_refused(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    url = await created(http, gateway, upstream)
    for action in ("", "&action=stop", "&action=abort&action=abort"):
        async with http.patch(url + action) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"]["code"] == "INVALID_ACTION"


async def test_an_offset_that_is_none_is_refused(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    url = await created(http, gateway, upstream)
    async with http.get(f"{url}&offset=0") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "BAD_REQUEST"


PLACES = {
    "PUT of a stream": ("PUT", f"{PREFIX}/00000000-0000-4000-8000-000000000000", 401),
    "POST to a stream": ("POST", f"{PREFIX}/00000000-0000-4000-8000-000000000000", 405),
    "GET of the prefix": ("GET", PREFIX, 405),
    "DELETE of the prefix": ("DELETE", PREFIX, 405),
    "HEAD of what is no id": ("HEAD", f"{PREFIX}/some-stream-id", 404),
    "HEAD below a stream": ("HEAD", f"{PREFIX}/00000000-0000-4000-8000-000000000000/record", 404),
}


@pytest.mark.parametrize(("method", "path", "status"), PLACES.values(), ids=PLACES)
async def test_other_methods_and_paths_are_refused(
    http: ClientSession, gateway: Headgate, method: str, path: str, status: int
) -> None:
    async with http.request(method, gateway.url + path, headers=SERVICE) as answer:
        assert answer.status == status


async def test_fields_go_on_except_those_of_the_hop_and_of_the_gateway(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    fields = {
        "Upstream_Authorization": "Bearer sk-upstream",
        "Content_Type": "application/json",
        "X_Custom_Header": "one",
        "anthropic_version": "2023-06-01",
        "Connection": "keep-alive, X-Hop",
        "X_Hop": "1",
        "TE": "trailers",
        "Proxy_Authorization": "Basic x",
        "Accept_Encoding": "gzip",
        "Content_Encoding": "of-its-own",
        "X_Forwarded_For": "192.0.2.1",
        "X_Real_IP": "192.0.2.1",
        "Cookie": "headgate_session=1; theirs=2",
    }
    async with create(http, gateway, upstream.url, body=b'{"a": 1}', **fields) as answer:
        assert answer.status == 201
    (request,) = upstream.requests
    got = {name.lower(): value for name, value in request.headers.items()}
    assert upstream.bodies == [b'{"a": 1}']
    assert got["authorization"] == "Bearer sk-upstream"
    assert got["content-type"] == "application/json"
    assert got["content-encoding"] == "of-its-own"
    assert got["host"] == f"127.0.0.1:{upstream.port}"
    assert got["x-custom-header"] == "one"
    assert got["anthropic-version"] == "2023-06-01"
    assert got["accept-encoding"] == "identity"
    assert got["cookie"] == "theirs=2"
    assert not {"x-hop", "te", "proxy-authorization", "transfer-encoding"} & got.keys()
    assert not [name for name in got if name.startswith("upstream-")]
    assert TOKEN not in str(got)  # the client's own Authorization
    assert "192.0.2.1" not in str(got)


async def test_the_query_goes_on_byte_by_byte(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    query = "a=%7E%2f+b&c=%C3%A9&X-Signature=x%2By%3D"
    async with create(http, gateway, f"{upstream.url}/%61%2Fb?{query}", "GET") as answer:
        assert answer.status == 201
    (request,) = upstream.requests
    assert request._message.path == f"/%61%2Fb?{query}"


async def test_a_websocket_is_answered_404_and_no_upstream_is_called(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upgrade = create(http, gateway, upstream.url, "GET", Upgrade="WebSocket", Connection="Upgrade")
    async with upgrade as refused:
        assert refused.status == 404
        assert "over HTTP" in await refused.text()
    assert not upstream.requests


PAGE = "https://app.example"


@pytest.mark.parametrize("method", ["POST", "PATCH", "DELETE"])
async def test_a_preflight_permits_pages_the_methods_and_fields_of_the_protocol(
    http: ClientSession, gateway: Headgate, method: str
) -> None:
    asked = {
        "Origin": PAGE,
        "Access-Control-Request-Method": method,
        "Access-Control-Request-Headers": "upstream-url,anthropic-version",
    }
    async with http.options(gateway.url + PREFIX, headers=asked) as answer:
        assert answer.status == 204
        assert answer.headers["Access-Control-Allow-Origin"] == "*"
        assert method in answer.headers["Access-Control-Allow-Methods"]
        names = answer.headers["Access-Control-Allow-Headers"].lower().split(", ")
        assert {"upstream-url", "upstream-method", "upstream-authorization"} <= {*names}
        assert "anthropic-version" in names


async def test_a_page_creates_reads_and_aborts(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    async with create(http, gateway, upstream.url, Origin=PAGE) as answer:
        assert answer.status == 201
        url = answer.headers["Location"]
    async with http.get(f"{url}&offset=-1", headers={"Origin": PAGE}) as answer:
        exposed = answer.headers["Access-Control-Expose-Headers"]
        assert {"Stream-Next-Offset", "Upstream-Content-Type"} <= {*exposed.split(", ")}
    async with http.patch(f"{url}&action=abort", headers={"Origin": PAGE}) as answer:
        assert answer.status == 204


async def test_options_without_a_preflight_are_answered_without_a_token(
    http: ClientSession, gateway: Headgate
) -> None:
    async with http.options(gateway.url + PREFIX) as answer:
        assert answer.status == 204
        assert {"GET", "POST", "PATCH"} <= {
            *answer.headers["Access-Control-Allow-Methods"].split(", ")
        }


async def test_an_open_proxy_needs_signatures_alone(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    with gateway_with_proxy(tmp_path, {"auth": "none"}) as gateway:
        fields = {"Upstream-URL": upstream.url, "Upstream-Method": "GET"}
        async with http.post(f"{gateway.url}{PREFIX}?secret=any", headers=fields) as answer:
            assert answer.status == 201
            url = answer.headers["Location"].partition("?")[0]
        async with http.get(url) as answer:
            assert answer.status == 200
        async with http.patch(f"{url}?action=abort") as answer:
            assert answer.status == 401


def test_the_check_of_the_settings_lists_the_hosts_of_a_proxy(tmp_path: Path) -> None:
    hosts = {"allow": ["api.openai.com"], "allow_inside": ["http://127.0.0.1:*"]}
    environment = {**written(tmp_path), **variables({"proxies": proxies(tmp_path, hosts)})}
    checked = run(
        [HEADGATE, "config", "check"], environment={**os.environ, **AT_ONCE, **environment}
    )
    assert checked.returncode == 0, checked.stderr
    line = "responses of api.openai.com, http://127.0.0.1:* in /v1/stream/proxied"
    assert line in checked.stdout.decode()
