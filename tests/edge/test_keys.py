"""What is in the key, and what never comes to the origin because it is not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import PlayedGateway
from tests.support.blocking_origin import BlockingOrigin, Exchange
from tests.support.http1 import Answer, Wire
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator

CANARY = "canary.example"
# What one server or another takes for the host, path, method, scheme, client or user of a request,
# and says nothing of it in Vary; and what asks for less than the whole answer.
UNKEYED = (
    *("Base-Url", "CF-Connecting-IP", "CF-IPCountry", "CF-Visitor", "CloudFront-Forwarded-Proto"),
    *("Client-IP", "Cluster-Client-IP", "Destination", "Fastly-Client-IP", "Fastly-SSL"),
    *("Forwarded", "Forwarded-For", "Forwarded-Proto", "Front-End-Https", "HTTP2-Settings"),
    *("If-Match", "If-None-Match", "Proxy", "Range", "Request-Uri", "True-Client-IP"),
    *("X-Amz-Website-Redirect-Location", "X-Client-IP", "X-Cluster-Client-IP"),
    *("X-Custom-IP-Authorization", "X-Forwarded", "X-Forwarded-By", "X-Forwarded-For"),
    *("X-Forwarded-Host", "X-Forwarded-Path", "X-Forwarded-Port", "X-Forwarded-Prefix"),
    *("X-Forwarded-Proto", "X-Forwarded-Scheme", "X-Forwarded-Server", "X-Forwarded-SSL"),
    *("X-Host", "X-HTTP-Host-Override", "X-HTTP-Method", "X-HTTP-Method-Override"),
    *("X-Method-Override", "X-Original-Host", "X-Original-URL", "X-Originating-IP"),
    *("X-Proxy-Url", "X-Real-IP", "X-Remote-Addr", "X-Rewrite-URL", "X-Scheme", "X-Server-Name"),
    *("X-Url-Scheme", "X-User", "X-WAP-Profile"),
)


class Echo(PlayedGateway):
    """A gateway before an origin whose cacheable answers hold the request that made them."""

    def get(self, target: str, *fields: str, host: str = "localhost") -> Answer:
        with Wire(self.port) as wire:
            lines = [f"GET {target} HTTP/1.1", f"Host: {host}", *fields, "", ""]
            wire.send("\r\n".join(lines).encode())
            return wire.answer()


def _echo(exchange: Exchange) -> None:
    """Everything that came, as an answer for all; what it varies by is in the path."""
    kept = ("Content-Type: text/plain", "Cache-Control: max-age=600")
    _, mark, vary = exchange.target.partition("/vary-")
    exchange.answer(exchange.head, *kept, *([f"Vary: {vary}"] if mark else []))


@pytest.fixture(scope="module")
def echo(processes: None) -> Iterator[Echo]:
    with BlockingOrigin(_echo) as origin, headgate(origin.url) as gateway:
        yield Echo(gateway.port, origin)


@pytest.mark.parametrize("name", UNKEYED)
def test_a_header_outside_the_key_does_not_appear_in_the_response_to_the_next_reader(
    echo: Echo, name: str
) -> None:
    path = echo.path()
    assert echo.get(path, f"{name}: {CANARY}").status in {200, 400}
    clean = echo.get(path)
    assert (clean.status, clean.headers["x-cache"]) in {(200, "HIT"), (200, "MISS")}
    assert CANARY.encode() not in clean.body
    assert CANARY not in repr(clean.headers)


def test_headers_with_an_underscore_do_not_reach_the_origin(echo: Echo) -> None:
    path = echo.path()
    echo.get(path, f"X_Forwarded_Host: {CANARY}", f"X-Forwarded_Proto: {CANARY}")
    assert all(CANARY.encode() not in one.head for one in echo.arrived(path))


def test_forwarding_headers_of_a_client_are_replaced_by_the_gateway(echo: Echo) -> None:
    path = echo.path()
    answer = echo.get(
        path,
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Proto: https",
        "X-Forwarded-Host: other.example",
        "Forwarded: for=192.0.2.1;host=other.example;proto=https",
        host="streams.example",
    )
    (one,) = echo.arrived(path)
    assert one.field("x-forwarded-proto") == "http"
    assert one.field("x-forwarded-host") == "streams.example"
    assert b"192.0.2.1" not in one.head
    assert b"other.example" not in one.head
    via = one.field("via")
    assert via is not None
    assert via.startswith("1.1 headgate-")
    assert answer.headers["via"] == via


def test_requests_for_different_hosts_share_no_response(echo: Echo) -> None:
    path = echo.path()
    for host in ("one.example", "two.example", "one.example:8080"):
        assert echo.get(path, host=host).headers["x-cache"] == "MISS"
        assert echo.get(path, host=host).headers["x-cache"] == "HIT"
    assert len(echo.arrived(path)) == 3


@pytest.mark.parametrize(
    "spellings",
    [
        ("?offset=-1", "?%6Fffset=-1", "?offset=%2D1"),
        ("?offset=-1", "?offset=-1&utm_source=a"),
        ("?offset=-1", "?utm_campaign=x&utm_medium=x&offset=-1"),
        ("", "?utm_source=mail"),
        ("/a~b", "/%61~b", "/a%7Eb", "/a%7eb"),
    ],
)
def test_spellings_of_one_url_share_one_cached_response(
    echo: Echo, spellings: tuple[str, ...]
) -> None:
    path = echo.path()
    answers = [echo.get(path + spelling) for spelling in spellings]
    cached = [answer.headers["x-cache"] for answer in answers]
    assert cached == ["MISS"] + ["HIT"] * (len(spellings) - 1)
    assert {answer.body for answer in answers} == {answers[0].body}
    (one,) = echo.arrived(path)
    assert "utm_" not in one.target


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("?offset=1_2", "?offset=1_3"),
        ("?offset=-1", "?offset=-1&cursor=1"),
        ("?offset=-1&cursor=1", "?offset=-1&cursor=2"),
        ("?offset=-1", "?offset=-1%26live%3Dlong-poll"),
        ("?a=1", "?a=2"),
        *(("/a/b", "/a%2Fb"), ("/A", "/a"), ("/a", "/a;x"), ("/a", "/a%3Fb"), ("/a.css", "/a")),
    ],
)
def test_different_urls_share_no_response(echo: Echo, first: str, second: str) -> None:
    path = echo.path()
    for end in (first, second):
        answer = echo.get(path + end)
        if answer.status == 200 or end.startswith("/"):
            assert answer.headers["x-cache"] == "MISS", answer
    assert len({one.target for one in echo.arrived(path)}) == len(echo.arrived(path))


@pytest.mark.parametrize(
    "query",
    [
        "offset=-1&offset=now",
        "offset=now&offset=-1",
        "offset=-1&%6Fffset=now",
    ],
)
def test_a_repeated_query_parameter_does_not_share_the_response_of_a_single_one(
    echo: Echo, query: str
) -> None:
    path = echo.path()
    assert echo.get(f"{path}?{query}").status in {200, 400}
    for single in ("offset=-1", "offset=now"):
        found = echo.get(f"{path}?{single}")
        assert found.body.startswith(f"GET {path}?{single} ".encode())
