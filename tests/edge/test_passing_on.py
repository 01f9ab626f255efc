"""Requests through the gateway to an HTTP origin and back, byte for byte on both sides."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest

from tests.edge.echo_origin import Echo
from tests.support.cache_status import said
from tests.support.raw_origin import RawOrigin, Steps, answer, close, silence
from tests.support.serving import EDGE, PREFIX, VIA, edge_serving, get, request
from tests.support.waiting import until

if TYPE_CHECKING:
    from tests.support.http1 import Answer

S = f"{EDGE}/s"
MINUTE = "Cache-Control: max-age=60"
FORWARDED = [
    "Host: localhost:{port}",
    f"Via: {VIA}",
    "X-Forwarded-For: 127.0.0.1",
    "X-Forwarded-Proto: http",
    "X-Forwarded-Host: headgate.test",
    "Forwarded: for=127.0.0.1;proto=http;host=headgate.test",
]


def check_cache_lines(got: Answer, x_cache: str, **meaning: object) -> None:
    """Each of the four lines is there once, and says what it should."""
    assert got.get("X-Cache") == x_cache, got
    assert (got.get("Age") or "").isdecimal()
    assert (got.get("X-Cache-Hits") or "").isdecimal()
    assert said([got.get("Cache-Status") or ""]) == {
        name.replace("_", "-"): value for name, value in meaning.items()
    }


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("body", [b"", b"data"])
async def test_a_request_of_any_method_reaches_the_origin_unchanged(
    method: str, body: bytes
) -> None:
    async with Echo("X-Own: 1", "Content-Type: text/x") as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(request(method, f"{S}?b=2&a=1", "X-A: 1", "x-b: 2", body=body))
        assert (got.status, got.body) == (200, body)
        assert (got.get("X-Own"), got.get("Content-Type"), got.get("Via")) == ("1", "text/x", VIA)
        check_cache_lines(got, "BYPASS", fwd="method", fwd_status=200)
        [heard] = raw.heard
        assert heard.line == f"{method} {S}?a=1&b=2 HTTP/1.1"
        length = [f"Content-Length: {len(body)}"] if body or method != "OPTIONS" else []
        lines = [line.format(port=raw.port) for line in FORWARDED]
        assert sorted(heard.fields) == sorted(["X-A: 1", "x-b: 2", *length, *lines])


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_trace_and_connect_are_refused_and_not_sent_to_the_origin(method: str) -> None:
    async with RawOrigin(answer()) as raw, edge_serving(raw) as gateway:
        client = await gateway.connect()
        client.send(request(method, S))
        got = await client.answer()
        assert got.status in {400, 405}
        assert raw.heard == []


async def test_a_preflight_is_answered_by_the_gateway_itself() -> None:
    async with RawOrigin(answer()) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(request("OPTIONS", S, "Access-Control-Request-Method: PUT"))
        assert got.status == 204
        check_cache_lines(got, "BYPASS", fwd="method")
        assert raw.heard == []


STATUSES = [200, 201, 202, 203, 204, 205, 226, 299, 300, 301, 303, 307, 308, 400, 401, 402]
STATUSES += [403, 404, 405, 406, 408, 409, 410, 412, 413, 415, 416, 418, 422, 423, 425, 428]
STATUSES += [429, 431, 451, 499, 500, 501, 502, 503, 504, 507, 511, 599]


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
async def test_a_response_of_any_status_is_passed_on_with_cache_lines(method: str) -> None:
    async with RawOrigin(answer()) as raw, edge_serving(raw) as gateway:
        for status in STATUSES:
            body = b"" if status in {204, 205} else b"body"
            scripted = answer(body, "X-Own: 1", status=f"{status} Some Reason")
            raw.scripts = [scripted.removesuffix(b"body") if method == "HEAD" else scripted]
            got = await gateway.ask(request(method, f"{S}{status}"))
            assert (got.status, got.get("X-Own")) == (status, "1")
            assert got.body == (b"" if method == "HEAD" else body)
            if method == "GET":
                check_cache_lines(got, "MISS", fwd="uri-miss", fwd_status=status)
            else:
                check_cache_lines(got, "BYPASS", fwd="method", fwd_status=status)


@pytest.mark.parametrize(
    "early",
    [b"", pytest.param(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", id="early-hints")],
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_informational_responses_of_the_origin_are_not_passed_on(
    early: bytes, method: str
) -> None:
    async with RawOrigin(early + answer(b"data")) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(request(method, S))
        assert (got.status, got.body, got.get("Link")) == (200, b"data", None)


async def test_refusals_of_the_gateway_have_cache_lines() -> None:
    async with RawOrigin(close) as raw, edge_serving(raw) as gateway:
        for wire, status in {
            get(S): 502,
            request("POST", S, body=b"x"): 502,
            get(S, "Cache-Control: only-if-cached"): 504,
            get(S, f"Via: {VIA}"): 508,
            get(f"{S}?a=%"): 400,
            get(f"{EDGE}/%ff"): 400,
            get("/nowhere/s"): 404,
            b"GET /edge/s HTTP/1.1\r\n\r\nno\x00thing": 400,
            b"nonsense\r\n\r\n": 400,
            b"GET /edge/s HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 70_000 + b"\r\n\r\n": 431,
        }.items():
            got = await gateway.ask(wire)
            if got.status != status and wire.endswith(b"thing"):
                continue  # the parser may see the request before it
            assert got.status == status, wire
            assert got.get("Content-Type") == "application/problem+json"
            if status != 502:
                check_cache_lines(got, "BYPASS", fwd="bypass")
            elif wire.startswith(b"GET"):
                check_cache_lines(got, "MISS", fwd="miss")
            else:
                check_cache_lines(got, "BYPASS", fwd="method")


async def test_a_log_beside_an_origin_route_has_cache_lines_on_every_response() -> None:
    async with (
        RawOrigin(answer()) as raw,
        edge_serving(raw, max_append=10, long_poll_timeout=0.05) as gateway,
    ):
        tail = "offset=0000000000000000_0000000000000001"
        typed = "Content-Type: text/plain"
        for wire, status, x_cache in [
            (request("PUT", "s", typed), 201, "BYPASS"),
            (request("PUT", "s", typed), 200, "BYPASS"),
            (request("PUT", "s", "Content-Type: a/b"), 409, "BYPASS"),
            (request("POST", "s", typed, body=b"x"), 204, "BYPASS"),
            (request("POST", "s", typed, body=b"x" * 11), 413, "BYPASS"),
            (request("POST", "s", typed), 400, "BYPASS"),
            (request("HEAD", "s"), 200, "BYPASS"),
            (get("s"), 200, "MISS"),
            (get("s"), 200, "HIT"),
            (get("s", "X-Request-Id:a"), 200, "HIT"),
            (get("s", "If-None-Match: *"), 304, "HIT"),
            (get("s?offset=now"), 200, "BYPASS"),
            (get(f"s?{tail}&live=long-poll"), 204, "COLLAPSED"),
            (get("s?live=sse"), 400, "BYPASS"),
            (request("PATCH", "s"), 405, "BYPASS"),
            (get(f"{PREFIX}/__ds/s"), 404, "BYPASS"),
            (request("DELETE", "s"), 204, "BYPASS"),
            (get("s"), 404, "BYPASS"),
        ]:
            got = await gateway.ask(wire)
            assert (got.status, got.get("X-Cache")) == (status, x_cache), wire
            for name in ("Age", "X-Cache-Hits"):
                assert (got.get(name) or "").isdecimal()
            said([got.get("Cache-Status") or ""])


async def test_cache_status_of_caches_behind_the_gateway_stays_before_its_own() -> None:
    first = answer(b"data", MINUTE, "Cache-Status: Other; hit", "X-Cache: HIT", "X-Cache-Hits: 9")
    async with RawOrigin(first) as raw, edge_serving(raw) as gateway:
        for wire in (get(S), get(S), request("POST", S)):
            got = await gateway.ask(wire)
            statuses = [value for name, value in got.fields if name == "cache-status"]
            assert statuses[0] == "Other; hit"
            assert len(statuses) == 2
            said(statuses[1:])
            assert got.get("X-Cache-Hits") in {"0", "1"}


@pytest.mark.parametrize(
    "age", ["", "-1", "x", pytest.param("9" * 5000, id="five-thousand-digits"), "1, 2"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_malformed_age_is_replaced_by_a_valid_one(age: str, method: str) -> None:
    async with (
        RawOrigin(answer(b"data", f"Age: {age}", MINUTE)) as raw,
        edge_serving(raw) as gateway,
    ):
        got = await gateway.ask(request(method, S))
        assert (got.status, got.body) == (200, b"data")
        assert int(got.get("Age") or "") <= 2**31


async def test_a_head_request_is_answered_from_a_cached_get_outside_streams() -> None:
    async with RawOrigin(answer(b"data", MINUTE, 'ETag: "a"')) as raw, edge_serving(raw) as gateway:
        await gateway.ask(get(S))
        got = await gateway.ask(request("HEAD", S))
        assert (got.status, got.get("Content-Length"), got.get("ETag")) == (200, "4", '"a"')
        check_cache_lines(got, "HIT", hit=True, ttl=60)
        ranged = await gateway.ask(request("HEAD", S, "Range: bytes=0-1"))
        assert (ranged.status, ranged.get("Content-Length")) == (200, "4")
        assert (await gateway.ask(request("HEAD", S, 'If-None-Match: "a"'))).status == 304
        assert len(raw.heard) == 1


async def test_a_head_request_of_a_stream_goes_to_the_origin_despite_a_cached_read() -> None:
    kept = answer(b"data", MINUTE, "Stream-Next-Offset: 9")
    async with RawOrigin(kept) as raw, edge_serving(raw) as gateway:
        await gateway.ask(get(S))
        raw.scripts = [b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nStream-Next-Offset: 10\r\n\r\n"]
        got = await gateway.ask(request("HEAD", S))
        assert (got.get("Stream-Next-Offset"), got.get("X-Cache")) == ("10", "BYPASS")


@pytest.mark.parametrize("name", ["Location", "Content-Location"])
@pytest.mark.parametrize("method", ["GET", "POST", "PUT"])
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("{url}/base/t?x=1", "http://headgate.test/edge/t?x=1"),
        ("/base/t", "/edge/t"),
        ("{url}/elsewhere/t", "{url}/elsewhere/t"),
        ("http://other.example/base/t", "http://other.example/base/t"),
        ("t", "t"),
    ],
)
async def test_locations_at_the_origin_are_rewritten_to_gateway_urls(
    name: str, method: str, given: str, told: str
) -> None:
    async with RawOrigin(answer()) as raw, edge_serving(f"{raw.url}/base") as gateway:
        status = "201 Created" if method == "PUT" else "307 Temporary Redirect"
        raw.scripts = [answer(b"", f"{name}: {given.format(url=raw.url)}", MINUTE, status=status)]
        if method == "GET":
            told = told.removeprefix("http://headgate.test")  # for those who came by https as well
        for _ in range(2):  # the second time it is kept
            got = await gateway.ask(request(method, S))
            assert got.get(name) == told.format(url=raw.url)


async def test_a_content_location_in_a_304_is_rewritten_to_a_gateway_url() -> None:
    tag = 'ETag: "1"'
    old = answer(b"old", "Cache-Control: max-age=0", tag)
    async with RawOrigin(old) as raw, edge_serving(raw) as gateway:
        await gateway.ask(get(S))
        place = f"Content-Location: {raw.url}{S}"
        raw.scripts = [answer(b"", tag, place, status="304 Not Modified")]
        assert (await gateway.ask(get(S))).get("Content-Location") == S


@pytest.mark.parametrize(
    ("says", "scheme"),
    [
        ("https", "https"),
        ("http", "http"),
        ("HTTPS, http", "https"),
        ("gopher", "http"),
        ("https://", "http"),
        ("", "http"),
    ],
)
async def test_x_forwarded_proto_of_a_trusted_proxy_sets_the_scheme_of_locations(
    says: str, scheme: str
) -> None:
    async with RawOrigin(answer()) as raw, edge_serving(f"{raw.url}/base") as gateway:
        line = f"X-Forwarded-Proto: {says}"
        raw.scripts = [answer(b"", f"Location: {raw.url}/base/s", status="201 Created")]
        got = await gateway.ask(request("PUT", S, line))
        assert got.get("Location") == f"{scheme}://headgate.test{S}"
        assert f"X-Forwarded-Proto: {scheme}" in raw.heard[0].fields
        got = await gateway.ask(request("PUT", "s", line))
        assert got.get("Location") == f"{scheme}://headgate.test{PREFIX}/s"


async def test_x_forwarded_proto_of_a_client_does_not_change_a_shared_response() -> None:
    """A read is asked, and kept, for everybody."""
    async with RawOrigin(answer()) as raw, edge_serving(f"{raw.url}/base") as gateway:
        moved = f"Location: {raw.url}/base/t"
        raw.scripts = [answer(b"", moved, MINUTE, status="301 Moved Permanently")]
        for line in ("X-Forwarded-Proto: https", "X-Forwarded-Proto: http"):
            assert (await gateway.ask(get(S, line))).get("Location") == f"{EDGE}/t"
        assert len(raw.heard) == 1
        assert "X-Forwarded-Proto: http" in raw.heard[0].fields


@pytest.mark.parametrize(
    "line", ["Stream-TTL: 007", "Stream-TTL: x", "Stream-Expires-At: soon", "Stream-TTL: 1.5"]
)
async def test_an_invalid_lifetime_header_is_left_to_the_origin_to_judge(line: str) -> None:
    made = answer(b"", "Stream-Next-Offset: 0", status="201 Created")
    async with RawOrigin(made) as raw, edge_serving(raw, {"max_origin_requests": 1}) as gateway:
        for _ in range(2):
            assert (await gateway.ask(request("PUT", S, line))).status == 201


BODY = b"0123456789"
DATED = "Last-Modified: Fri, 15 Jan 2027 07:00:00 GMT"
KEPT = answer(BODY, MINUTE, 'ETag: "a"', DATED, "Date: Fri, 15 Jan 2027 08:00:00 GMT")


@pytest.mark.parametrize(
    ("lines", "status", "content_range", "body"),
    [
        (["Range: bytes=0-3"], 206, "bytes 0-3/10", b"0123"),
        (["Range: bytes=-3"], 206, "bytes 7-9/10", b"789"),
        (["Range: bytes=8-99"], 206, "bytes 8-9/10", b"89"),
        (["Range: bytes=0-1,3-4"], 200, None, BODY),
        (["Range: bytes=0-3", 'If-Range: "a"'], 206, "bytes 0-3/10", b"0123"),
        (["Range: bytes=0-3", 'If-Range: "b"'], 200, None, BODY),
        (["Range: bytes=0-3", 'If-None-Match: "b"'], 206, "bytes 0-3/10", b"0123"),
    ],
)
async def test_a_range_is_cut_from_the_complete_cached_response(
    lines: list[str], status: int, content_range: str | None, body: bytes
) -> None:
    async with RawOrigin(KEPT) as raw, edge_serving(raw) as gateway:
        for x_cache in ("MISS", "HIT", "HIT"):
            got = await gateway.ask(get(S, *lines))
            assert (got.status, got.get("Content-Range"), got.body) == (status, content_range, body)
            assert got.get("X-Cache") == x_cache
            assert got.get("Content-Length") == str(len(body))
        assert len(raw.heard) == 1
        assert not any(field.startswith(("Range", "If-")) for field in raw.heard[0].fields)


async def test_a_range_past_the_end_is_refused_with_416() -> None:
    async with RawOrigin(KEPT) as raw, edge_serving(raw) as gateway:
        for x_cache in ("MISS", "HIT", "HIT"):
            got = await gateway.ask(get(S, "Range: bytes=10-", "Origin: https://page.example"))
            assert (got.status, got.get("Content-Range")) == (416, "bytes */10")
            assert got.get("Content-Type") == "application/problem+json"
            assert json.loads(got.body)["code"] == "range_not_satisfiable"
            assert got.get("Access-Control-Allow-Origin") == "*"
            assert (got.get("X-Cache"), got.get("Cache-Control")) == (x_cache, "no-store")
        assert len(raw.heard) == 1


async def test_a_range_request_at_the_tail_gets_an_empty_200_with_the_offset() -> None:
    tail = answer(b"", "Stream-Next-Offset: 9", "Stream-Up-To-Date: true")
    async with RawOrigin(tail) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(get(f"{S}?offset=9", "Range: bytes=0-9"))
        assert (got.status, got.get("Stream-Next-Offset"), got.body) == (200, "9", b"")


@pytest.mark.parametrize(
    ("lines", "answered", "status"),
    [
        ([], "304 Not Modified", 502),
        ([], "206 Partial Content", 502),
        (['If-None-Match: "a"'], "304 Not Modified", 304),
        (["Range: bytes=0-1"], "206 Partial Content", 206),
    ],
)
async def test_a_304_or_206_to_an_unconditional_head_request_is_a_502(
    lines: list[str], answered: str, status: int
) -> None:
    async with RawOrigin(answer(b"", MINUTE, status=answered)) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(request("HEAD", S, *lines))).status == status


@pytest.mark.parametrize(
    ("line", "status"),
    [
        ('If-None-Match: "a"', 304),
        ('If-None-Match: "b"', 200),
        ("If-Modified-Since: Fri, 15 Jan 2027 07:00:00 GMT", 304),
    ],
)
async def test_a_conditional_read_gets_304_if_its_validator_matches(line: str, status: int) -> None:
    async with RawOrigin(KEPT) as raw, edge_serving(raw) as gateway:
        for x_cache in ("MISS", "HIT", "HIT"):
            client = await gateway.connect()
            got = await client.ask(get(S, line))
            assert (got.status, got.get("X-Cache"), got.get("ETag")) == (status, x_cache, '"a"')
            assert got.get("Cache-Control") == "max-age=60"
            if status == 304:
                # Not the length of nothing: it would be taken for that of the answer.
                assert got.get("Content-Length") in {None, str(len(BODY))}
            assert (await client.ask(get(S))).body == BODY
        assert len(raw.heard) == 1


async def test_a_conditional_read_of_a_stream_is_answered_by_the_gateways_own_tag() -> None:
    """By the tag that readers were given, which is not the origin's."""
    data = answer(b"data", "Stream-Next-Offset: 9", "ETag: 9", "Content-Type: text/plain")
    async with RawOrigin(data) as raw, edge_serving(raw) as gateway:
        tag = (await gateway.ask(get(f"{S}?offset=1"))).get("ETag")
        assert tag == '"9"'
        assert (await gateway.ask(get(f"{S}?offset=1", f"If-None-Match: {tag}"))).status == 304
        assert len(raw.heard) == 1


async def test_the_origins_response_time_counts_towards_the_timeout_of_a_poll() -> None:
    """Else it would wait once for the origin and once more for news."""
    wait_s = 3.0
    nothing = answer(b"", "Stream-Next-Offset: 0001", "Stream-Up-To-Date: true")
    slow = Steps(b"", nothing)
    async with (
        RawOrigin(slow, silence) as raw,
        edge_serving(raw, long_poll_timeout=wait_s) as gateway,
    ):
        client = await gateway.connect()
        client.send(get(f"{S}?offset=0001&live=long-poll"))
        await until(lambda: slow.sent == 1)
        await asyncio.sleep(wait_s)  # all of its time
        slow.go()
        async with asyncio.timeout(wait_s / 2):
            got = await client.answer()
        assert (got.status, got.get("Stream-Next-Offset")) == (204, "0001")
        assert got.get("Stream-Up-To-Date") == "true"
        assert gateway.limits.live_readers == 0
