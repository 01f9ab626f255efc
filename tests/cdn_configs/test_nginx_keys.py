"""What a real nginx takes for the same, so that one copy serves it and one purge drops it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_cdn.options import Options
from headgate_cdn.render import render
from headgate_cdn.targets import TARGETS
from headgate_gateway.protocol.http.paths import canonical_path
from tests.cdn_configs.nginx_before import READ, Said, asked, results, served
from tests.support.http1 import ask
from tests.support.ports import free_port
from tests.support.proxy_engines import ENGINES, started

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn_configs.nginx_before import Origin

NAME = "a.example.com"
# The first and last of the characters that need no encoding, and what is beside them.
EDGES = ",-./09:@AZ[^_`az{}~"


@pytest.fixture(scope="module")
def named(processes: None, origin: Origin) -> Iterator[int]:
    """It is for one host."""
    with served(origin, "nginx", "bypass", NAME) as port:
        yield port


@pytest.fixture(scope="module", params=TARGETS["nginx-njs"].credentials)
def njs(processes: None, origin: Origin, request: pytest.FixtureRequest) -> Iterator[int]:
    with served(origin, "nginx-njs", request.param) as port:
        yield port


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("offset=5&live=long-poll&cursor=7", "cursor=7&offset=5&live=long-poll"),
        ("offset=-1&cursor=1", "cursor=1&offset=-1"),
    ],
)
def test_the_nginx_cache_key_ignores_the_order_of_protocol_parameters(
    nginx: int, origin: Origin, one: str, other: str
) -> None:
    url = origin.will_say(Said(one, 200, ("Cache-Control: public, max-age=60",)))
    path = url.partition("?")[0]
    assert results(nginx, url, {}) + results(nginx, f"{path}?{other}", {}) == ["MISS", "HIT"]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("offset=1&offset=2", "offset=2&offset=1"),
        ("offset=1&cursor=1&cursor=2", "cursor=2&offset=1&cursor=1"),
        ("offset=5", "offset=5%20"),
        ("offset=5", "Offset=5"),
        ("offset=5&cursor=1", "offset=5&cursor=2"),
    ],
)
def test_ambiguous_queries_have_nginx_cache_keys_of_their_own(
    nginx: int, njs: int, origin: Origin, one: str, other: str
) -> None:
    for port in (nginx, njs):
        url = origin.will_say(Said(one, 200, ("Cache-Control: public, max-age=60",)))
        path = url.partition("?")[0]
        assert results(port, url, {}) + results(port, f"{path}?{other}", {}) == ["MISS", "MISS"]


def test_the_nginx_cache_key_with_njs_ignores_the_order_of_all_parameters(
    njs: int, origin: Origin
) -> None:
    url = origin.will_say(Said("b=2&offset=5&a=1", 200, ("Cache-Control: public, max-age=60",)))
    path = url.partition("?")[0]
    assert results(njs, url, {}) == ["MISS"]
    assert results(njs, f"{path}?a=1&&b=2&offset=5", {}) == ["HIT"]


def test_an_nginx_purge_evicts_the_response_of_its_url_and_no_other(
    nginx: int, origin: Origin
) -> None:
    fields = ("Cache-Control: public, max-age=60",)
    url, other = (origin.will_say(Said("offset=5&cursor=1", 200, fields)) for _ in range(2))
    path = url.partition("?")[0]
    assert results(nginx, url, {}) + results(nginx, other, {}) == ["MISS", "MISS"]
    purged = [ask(nginx, "PURGE", f"{path}?cursor=1&offset=5").status for _ in range(2)]
    assert purged == [200, 404]
    assert results(nginx, url, {}) + results(nginx, other, {}) == ["MISS", "HIT"]


@pytest.mark.usefixtures("processes")
def test_an_nginx_purge_from_its_own_machine_gets_403_with_a_remote_gateway() -> None:
    """A proxy in front of nginx may be on it, and everybody is behind that."""
    port = free_port()
    options = Options(upstream="192.0.2.1:80", listen=port, purge=True, standalone=True)
    text = render(TARGETS["nginx"], options)
    assert "        allow 192.0.2.1;\n        deny all;\n" in text
    with started(ENGINES["nginx"], {"headgate.conf": text}, port):
        assert ask(port, "PURGE", "/v1/stream/a?offset=5").status == 403


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via"])
def test_an_nginx_purge_relayed_by_a_proxy_gets_403(
    nginx: int, origin: Origin, header: str
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=60",)))
    assert results(nginx, url, {}) == ["MISS"]
    assert ask(nginx, "PURGE", url, None, **{header: "192.0.2.1"}).status == 403
    assert results(nginx, url, {}) == ["HIT"]


def test_spellings_of_a_host_share_an_nginx_response_and_one_purge_evicts_it(
    named: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=60",)))
    hosts = [{"Host": NAME}, {"Host": NAME.upper()}, {"Host": f"{NAME}:80"}]
    assert results(named, url, *hosts) == ["MISS", "HIT", "HIT"]
    assert ask(named, "PURGE", url, None, Host=f"{NAME}:8080").status == 200
    assert results(named, url, *hosts) == ["MISS", "HIT", "HIT"]


def test_an_unknown_host_gets_421_from_nginx_and_never_reaches_the_gateway(
    named: int, origin: Origin
) -> None:
    url = origin.will_say(Said(READ, 200, ("Cache-Control: public, max-age=60",)))
    assert [asked(named, url, {"Host": host}).status for host in ("evil", f"{NAME}.evil")] == [
        421,
        421,
    ]
    assert origin.asked[url.partition("?")[0]] == 0


@pytest.mark.parametrize("path", ["/v1/stream/%61bc", "/v1/stream/%2fa", "/v1/stream/a|b"])
def test_a_path_that_is_not_canonical_bypasses_the_nginx_cache(
    nginx: int, origin: Origin, path: str
) -> None:
    """A purge, which has the gateway's own spelling, would not drop it."""
    origin.says[path] = Said(READ, 200, ("Cache-Control: public, max-age=60",))
    assert canonical_path(path) != path
    assert results(nginx, f"{path}?{READ}", {}, {}) == ["BYPASS", "BYPASS"]


@pytest.mark.parametrize("path", ["/v1/stream/a%2Fb", "/v1/stream/%C3%A4!~", "/v1/stream/a%7Cb"])
def test_a_canonical_path_is_cached_by_nginx(nginx: int, origin: Origin, path: str) -> None:
    origin.says[path] = Said(READ, 200, ("Cache-Control: public, max-age=60",))
    assert canonical_path(path) == path
    assert results(nginx, f"{path}?{READ}", {}, {}) == ["MISS", "HIT"]


def test_nginx_judges_percent_encoded_characters_as_the_gateway_does(
    nginx: int, origin: Origin
) -> None:
    for character in EDGES:
        path = f"/v1/stream/c%{ord(character):02X}"
        origin.says[path] = Said(READ, 200, ("Cache-Control: no-store",))
        told = "MISS" if canonical_path(path) == path else "BYPASS"
        assert results(nginx, f"{path}?{READ}", {}) == [told], path
