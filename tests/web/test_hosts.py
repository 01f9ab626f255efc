"""Whom a request says that it is for: what no URL could hold is refused before anything is done."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from headgate_gateway.web.requests.request_head import is_host
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, PREFIX, edge_serving

NO_IPV6 = "what is in its brackets is no IPv6 address"
NO_PORT = "its port is above 65535"
NO_SHAPE = "it is not HOST or HOST:PORT"
NO_HOSTS = {
    **dict.fromkeys(("[1]", "[:]", "[1.2.3.4]", "[::1.2.3]"), NO_IPV6),
    **dict.fromkeys(("a:65536", "[::1]:65536"), NO_PORT),
    **dict.fromkeys(("[]", "[::1]x", "[::1%25eth0]", "a@b", "a b", "a/b", ":", "a::"), NO_SHAPE),
}
HOSTS = [
    *("", "a", "a:", "[::1]:", "a:0", "a:65535", "10.0.0.1:80", "[::1]"),
    *("[::ffff:10.0.0.1]:65535", "a_b.~c"),
]


def asked(method: str, path: str, host: str) -> bytes:
    head = f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: text/plain\r\n"
    length = "" if method in {"GET", "HEAD", "DELETE"} else "Content-Length: 1\r\n"
    return f"{head}{length}\r\n{'x' if length else ''}".encode()


@pytest.mark.parametrize("prefix", [EDGE, PREFIX])
@pytest.mark.parametrize("host", NO_HOSTS)
async def test_a_request_with_an_invalid_host_has_no_effect(host: str, prefix: str) -> None:
    async with RawOrigin(answer(b"made")) as origin, edge_serving(origin) as gateway:
        for method in ("PUT", "POST", "DELETE", "GET", "HEAD"):
            told = await gateway.ask(asked(method, f"{prefix}/s", host))
            assert told.status == 400, method
            if method != "HEAD":
                reason = f"Host '{host}' names no host: {NO_HOSTS[host]}"
                assert json.loads(told.body)["detail"] == reason
        assert origin.heard == []
        assert (await gateway.ask(asked("HEAD", f"{PREFIX}/s", "a"))).status == 404


@pytest.mark.parametrize("host", HOSTS)
async def test_a_valid_host_is_accepted_and_forwarded(host: str) -> None:
    async with RawOrigin(answer(b"made")) as origin, edge_serving(origin) as gateway:
        assert (await gateway.ask(asked("POST", f"{EDGE}/s", host))).status == 200
        assert len(origin.heard) == 1


async def test_spellings_of_a_host_with_an_empty_or_default_port_share_one_response() -> None:
    fresh = answer(b"x", "Stream-Next-Offset: 1", "Cache-Control: max-age=60")
    async with RawOrigin(fresh) as origin, edge_serving(origin) as gateway:
        for host in ("a", "a:", "a:80", "A"):
            assert (await gateway.ask(asked("GET", f"{EDGE}/s", host))).status == 200
        assert len(origin.heard) == 1


@given(st.one_of(st.text("[]:.019afg~", max_size=12), st.ip_addresses().map(lambda ip: f"[{ip}]")))
def test_a_host_that_is_accepted_is_parsed_by_two_url_parsers(named: str) -> None:
    if named and is_host(named):
        parsed, other = urlsplit(f"http://{named}/s"), URL(f"http://{named}/s")
        assert parsed.port == other.port or parsed.port is None
        assert parsed.hostname


async def test_a_target_url_with_an_invalid_host_is_refused() -> None:
    async with RawOrigin(answer(b"made")) as origin, edge_serving(origin) as gateway:
        for target in (f"http://[1]{EDGE}/s", f"http://a:65536{EDGE}/s"):
            told = await gateway.ask(asked("POST", target, "a"))
            assert told.status == 400
        assert origin.heard == []
