"""The header fields that a real nginx sends with its copies."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

from headgate_gateway.protocol.http.header_names import NGINX_FIELD
from headgate_gateway.protocol.http.repeated_fields import JOINED
from tests.cdn_configs.nginx_before import READ, Said, asked, results, served
from tests.support.http1 import ask

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cdn_configs.nginx_before import Origin

# What an operator may have for all other servers of this nginx.
COMPRESSING = "gzip on; gzip_vary on; gzip_proxied any; gzip_min_length 1; gzip_types *;"
MINUTE = "Cache-Control: public, max-age=60"
LONG, SHORT = b"a" * 2000, b"a" * 900


@pytest.fixture(scope="module", params=["nginx", "nginx-njs"])
def compressing(processes: None, origin: Origin, request: pytest.FixtureRequest) -> Iterator[int]:
    with served(origin, request.param, of_http=COMPRESSING) as port:
        yield port


@pytest.mark.parametrize(
    "condition",
    [
        {"If-Match": '"another"'},
        {"If-Match": '"t"'},
        {"If-Unmodified-Since": "Fri, 15 Jan 2021 07:59:58 GMT"},
    ],
    ids=str,
)
def test_a_precondition_on_a_copy_is_left_to_the_gateway(
    compressing: int, origin: Origin, condition: dict[str, str]
) -> None:
    fields = (MINUTE, 'ETag: "t"', "Last-Modified: Sat, 16 Jan 2021 07:59:58 GMT")
    url = origin.will_say(Said(READ, 200, fields))
    assert results(compressing, url, {}, {}) == ["MISS", "HIT"]
    told = asked(compressing, url, condition)
    assert (told.status, told.get("X-Cache-Status")) == (200, "BYPASS")


@pytest.mark.parametrize(
    ("method", "query", "reader", "expected"),
    [
        ("GET", READ, {}, "1"),
        ("GET", "offset=5&live=long-poll", {}, "1"),
        ("GET", READ, {"Authorization": "Bearer a"}, None),
        ("GET", "offset=5&live=sse", {}, None),
        ("HEAD", READ, {}, None),
        ("POST", READ, {}, None),
    ],
    ids=str,
)
def test_only_nginx_itself_asks_for_the_rest_of_a_lifetime(
    compressing: int,
    origin: Origin,
    method: str,
    query: str,
    reader: dict[str, str],
    expected: str | None,
) -> None:
    url = origin.will_say(Said(query, 200, (MINUTE,)))
    asked(compressing, url, {NGINX_FIELD: "forged", **reader}, method)
    assert origin.of_nginx[url.partition("?")[0]] == [expected]


def test_a_copy_has_no_request_id_of_its_first_reader(compressing: int, origin: Origin) -> None:
    url = origin.will_say(Said(READ, 200, (MINUTE, "X-Request-Id: first")))
    told = [asked(compressing, url, {"X-Request-Id": it}) for it in ("first", "second")]
    assert [it.get("X-Cache-Status") for it in told] == ["MISS", "HIT"]
    assert [it.get("X-Request-Id") for it in told] == ["first", None]


def test_a_copy_confirms_all_dates_from_its_last_change_on(
    compressing: int, origin: Origin
) -> None:
    fields = (MINUTE, "Last-Modified: Sat, 16 Jan 2021 07:59:58 GMT")
    url = origin.will_say(Said(READ, 200, fields))
    assert results(compressing, url, {}, {}) == ["MISS", "HIT"]
    dates = [f"{day} Jan 2021 07:59:58 GMT" for day in ("Fri, 15", "Sat, 16", "Sun, 17")]
    told = [asked(compressing, url, {"If-Modified-Since": date}).status for date in dates]
    assert told == [200, 304, 304]


class Varying(NamedTuple):
    """A response's Vary and body at the gateway, and the Vary that readers get."""

    vary: str | None
    body: bytes
    expected: str | None
    content_type: str = "application/json; charset=utf-8"
    is_compressed: bool = True


@pytest.mark.parametrize(
    "row",
    [
        Varying(None, LONG, "Accept-Encoding"),
        Varying(None, LONG, "Accept-Encoding", "TEXT/PLAIN"),
        Varying("Origin", LONG, "Origin, Accept-Encoding"),
        Varying(
            "Origin, Accept-Encoding-Not", LONG, "Origin, Accept-Encoding-Not, Accept-Encoding"
        ),
        Varying("accept-encoding", LONG, "accept-encoding"),
        Varying("Origin, Accept-Encoding", LONG, "Origin, Accept-Encoding"),
        Varying("*", LONG, "*"),
        Varying("Origin", LONG, "Origin", "application/octet-stream", is_compressed=False),
        Varying("Origin", SHORT, "Origin", is_compressed=False),
        Varying(None, SHORT, None, is_compressed=False),
    ],
    ids=lambda row: f"{row.vary} {row.content_type} {len(row.body)}",
)
def test_a_response_has_one_vary_line_which_says_whether_it_is_compressed(
    compressing: int, origin: Origin, row: Varying
) -> None:
    vary = () if row.vary is None else (f"Vary: {row.vary}",)
    fields = (MINUTE, f"Content-Type: {row.content_type}", *vary)
    url = origin.will_say(Said(READ, 200, fields, row.body))
    for reader in ({}, {"Accept-Encoding": "gzip"}, {"Accept-Encoding": "gzip"}):
        told = asked(compressing, url, reader)
        assert [value for name, value in told.fields if name == "vary"] == list(
            filter(None, [row.expected])
        )
        coding = "gzip" if reader and row.is_compressed else None
        assert told.get("Content-Encoding") == coding


@pytest.mark.parametrize("status", [200, 404, 500])
@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", READ),
        ("GET", "offset=5&live=long-poll"),
        ("GET", "offset=now"),
        ("HEAD", READ),
        ("POST", READ),
    ],
)
def test_no_field_by_which_caches_decide_is_in_two_lines(
    compressing: int, origin: Origin, method: str, query: str, status: int
) -> None:
    fields = (MINUTE, "Vary: Origin", "Content-Type: text/plain", "CDN-Cache-Control: max-age=60")
    url = origin.will_say(Said(query, status, fields, LONG))
    for _ in range(2):
        told = ask(compressing, method, url, None, Accept_Encoding="gzip")
        names = [name for name, _ in told.fields if name in JOINED]
        assert len(names) == len(set(names)), told.fields
