"""Streams of proxied responses: created, read, aborted, described and deleted."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.questions.streams import LARGEST_PAGE
from tests.proxies.serving import (
    PREFIX,
    SERVICE,
    STREAMS,
    create,
    created,
    gateway_with_proxy,
)
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from aiohttp import ClientSession
    from multidict import CIMultiDictProxy

    from tests.proxies.upstream import Upstream
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")


def unsigned(url: str) -> str:
    """Return the URL of a stream without its signature."""
    return url.partition("?")[0]


async def head(http: ClientSession, url: str) -> CIMultiDictProxy[str]:
    """Return the metadata of a stream."""
    async with http.head(unsigned(url), headers=SERVICE) as answer:
        assert answer.status == 200
        return answer.headers


async def ended(http: ClientSession, url: str) -> CIMultiDictProxy[str]:
    """Return the metadata of a stream once it is closed."""
    found: list[CIMultiDictProxy[str]] = []

    async def is_closed() -> bool:
        found.append(await head(http, url))
        return found[-1].get("Stream-Closed") == "true"

    await until(is_closed)
    return found[-1]


async def stored(http: ClientSession, url: str) -> bytes:
    """Return the bytes of a stream, by its signed URL."""
    async with http.get(f"{url}&offset=-1") as answer:
        assert answer.status == 200
        return await answer.read()


async def test_a_stream_is_created_before_its_response_ends_and_read_by_its_signed_url(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upstream.hold()
    async with create(http, gateway, f"{upstream.url}/v1/chat?key=1") as answer:
        assert answer.status == 201
        assert await answer.read() == b""
        assert answer.headers["Upstream-Content-Type"] == "text/event-stream"
        url = answer.headers["Location"]
    assert url.startswith(f"{gateway.url}{PREFIX}/")
    assert ID.fullmatch(unsigned(url).rpartition("/")[2])
    upstream.allow()
    metadata = await ended(http, url)
    assert metadata["Upstream-Outcome"] == "complete"
    async with http.get(f"{url}&offset=-1") as read:
        assert await read.read() == b"".join(upstream.parts)
        assert read.headers["Upstream-Content-Type"] == "text/event-stream"
        assert read.headers["Upstream-Outcome"] == "complete"
        assert read.headers["Stream-Closed"] == "true"
        assert read.headers["Cache-Control"] == "private, no-store"
    (request,) = upstream.requests
    assert (request.method, request.path_qs) == ("POST", "/v1/chat?key=1")
    assert upstream.bodies == [b"{}"]


BODIES = {
    "events": ("text/event-stream; charset=utf-8", b": ping\n\ndata: \xc3\xa9\n\nid: 1\n\n"),
    "events with CR": ("text/event-stream", b"data: one\r\rdata: two\r\n\r\n"),
    "half an event": ("text/event-stream", b"data: one\n\ndata: tw"),
    "a JSON array": ("application/json", b'[1,\n 2, {"a": "b"}]'),
    "text": ("text/plain", b"line 1\nline 2"),
    "bytes that are no text": ("application/octet-stream", bytes(range(256)) * 300),
    "nothing": ("text/event-stream", b""),
}


@pytest.mark.parametrize(("content_type", "body"), BODIES.values(), ids=BODIES)
async def test_a_body_of_any_type_is_stored_byte_by_byte(
    http: ClientSession,
    upstream: Upstream,
    gateway: Headgate,
    content_type: str,
    body: bytes,
) -> None:
    upstream.fields = {"Content-Type": content_type}
    upstream.parts = [body[:7], body[7:]] if body else []
    url = await created(http, gateway, upstream)
    metadata = await ended(http, url)
    assert metadata["Upstream-Content-Type"] == content_type
    assert metadata["Content-Type"] == "application/octet-stream"
    assert await stored(http, url) == body


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "post"])
async def test_the_upstream_gets_the_method_that_the_client_names(
    http: ClientSession, upstream: Upstream, gateway: Headgate, method: str
) -> None:
    async with create(http, gateway, upstream.url, method) as answer:
        assert answer.status == 201
    (request,) = upstream.requests
    assert request.method == method.upper()


async def test_a_long_poll_waits_for_the_next_bytes_and_says_how_the_response_has_ended(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upstream.hold()
    url = await created(http, gateway, upstream)
    upstream.allow(1)
    offset, received = "-1", b""
    outcomes: list[str] = []
    while not outcomes:
        async with http.get(f"{url}&live=long-poll&offset={offset}") as answer:
            assert answer.status in {200, 204}
            received += await answer.read()
            offset = answer.headers["Stream-Next-Offset"]
            assert answer.headers["Upstream-Content-Type"] == "text/event-stream"
            outcomes += answer.headers.getall("Upstream-Outcome", [])
        upstream.allow()
    assert received == b"".join(upstream.parts)
    assert outcomes == ["complete"]


async def test_events_follow_a_response_up_to_its_end(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    url = await created(http, gateway, upstream)
    async with http.get(f"{url}&live=sse&offset=-1") as answer:
        assert answer.content_type == "text/event-stream"
        assert answer.headers["Upstream-Content-Type"] == "text/event-stream"
        assert "private" in answer.headers["Cache-Control"]
        events = (await answer.read()).decode()
    data = re.findall(r"event: data\ndata:(\S+)\n", events)
    assert b"".join(map(base64.b64decode, data)) == b"".join(upstream.parts)
    assert '"streamClosed":true' in events


async def test_an_abort_ends_the_request_and_leaves_all_bytes_in_a_closed_stream(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upstream.hold()
    url = await created(http, gateway, upstream)
    upstream.allow(1)
    await until_stored(http, url, upstream.parts[0])
    assert "Upstream-Outcome" not in await head(http, url)
    for _ in range(2):
        async with http.patch(f"{url}&action=abort") as answer:
            assert (answer.status, await answer.read()) == (204, b"")
    await asyncio.wait_for(upstream.has_left.wait(), 10)
    metadata = await head(http, url)
    assert metadata["Stream-Closed"] == "true"
    assert metadata["Upstream-Outcome"] == "aborted"
    assert await stored(http, url) == upstream.parts[0]


async def test_shared_caches_store_a_response_neither_at_its_signed_url_nor_where_it_is_stored(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    url = await created(http, gateway, upstream)
    await ended(http, url)
    name = unsigned(url).rpartition("/")[2]
    for each in (f"{url}&offset=-1", f"{gateway.url}{STREAMS}/{name}?offset=-1"):
        async with http.get(each) as answer:
            assert answer.status == 200
            assert "private" in answer.headers["Cache-Control"]
            assert "CDN-Cache-Control" not in answer.headers


async def until_stored(http: ClientSession, url: str, data: bytes) -> None:
    """Wait until a stream has these bytes."""

    async def has_them() -> bool:
        return await stored(http, url) == data

    await until(has_them)


async def test_an_abort_after_the_end_changes_nothing(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    url = await created(http, gateway, upstream)
    await ended(http, url)
    async with http.patch(f"{url}&action=abort") as answer:
        assert answer.status == 204
    assert (await head(http, url))["Upstream-Outcome"] == "complete"


async def test_a_response_that_breaks_off_is_failed_and_its_bytes_stay(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upstream.cuts_after = 1
    upstream.hold()
    url = await created(http, gateway, upstream)
    upstream.allow(1)
    await until_stored(http, url, upstream.parts[0])
    upstream.allow()
    assert (await ended(http, url))["Upstream-Outcome"] == "failed"
    assert await stored(http, url) == upstream.parts[0]


async def test_a_response_that_stays_silent_is_failed(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.hold()
    upstream.allow(1)
    with gateway_with_proxy(tmp_path, {"read_timeout": 0.3}) as gateway:
        url = await created(http, gateway, upstream)
        assert (await ended(http, url))["Upstream-Outcome"] == "failed"
        assert await stored(http, url) == upstream.parts[0]


async def test_a_response_that_is_too_long_is_failed_behind_the_bytes_that_fit(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.parts = [b"x" * 1000] * 3
    with gateway_with_proxy(tmp_path, {"max_answer_size": "2500B"}) as gateway:
        url = await created(http, gateway, upstream)
        assert (await ended(http, url))["Upstream-Outcome"] == "failed"
        assert await stored(http, url) == b"x" * 2500


async def test_a_server_that_stops_ends_its_responses_as_aborted(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.hold()
    environment = {"HEADGATE_SHUTDOWN__GRACE": "0.2"}
    with gateway_with_proxy(tmp_path, is_durable=True, environment=environment) as gateway:
        url = await created(http, gateway, upstream)
        upstream.allow(1)
        await until_stored(http, url, upstream.parts[0])
        assert await asyncio.to_thread(gateway.terminate) == 0
        gateway.start()
        assert (await ended(http, url))["Upstream-Outcome"] == "aborted"
        assert await stored(http, url) == upstream.parts[0]


async def test_a_killed_server_closes_its_streams_at_the_next_start(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.hold()
    with gateway_with_proxy(tmp_path, is_durable=True) as gateway:
        url = await created(http, gateway, upstream)
        upstream.allow(1)
        await until_stored(http, url, upstream.parts[0])
        gateway.kill()
        gateway.start()
        assert (await ended(http, url))["Upstream-Outcome"] == "failed"
        assert await stored(http, url) == upstream.parts[0]


async def test_a_deletion_ends_the_request_and_is_no_error_where_nothing_is(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upstream.hold()
    url = await created(http, gateway, upstream)
    for _ in range(2):
        async with http.delete(unsigned(url), headers=SERVICE) as answer:
            assert answer.status == 204
    await asyncio.wait_for(upstream.has_left.wait(), 10)
    for method, target in (("GET", url), ("PATCH", f"{url}&action=abort")):
        async with http.request(method, target) as answer:
            assert answer.status == 404
            assert (await answer.json())["error"]["code"] == "STREAM_NOT_FOUND"
    async with http.head(unsigned(url), headers=SERVICE) as answer:
        assert answer.status == 404


async def test_a_stream_that_the_proxy_has_not_written_is_not_found(
    http: ClientSession, gateway: Headgate
) -> None:
    name = "00000000-0000-4000-8000-000000000000"
    streams = f"{STREAMS}/{name}"
    async with http.put(gateway.url + streams, headers={"Content-Type": "text/plain"}) as made:
        assert made.status == 201
    url = f"{gateway.url}{PREFIX}/{name}"
    assert await status_of(http, "GET", url) == 404
    assert await status_of(http, "DELETE", url) == 204
    assert await status_of(http, "GET", gateway.url + streams) == 200


async def status_of(http: ClientSession, method: str, url: str) -> int:
    """Return the status of a request with the token of the service."""
    async with http.request(method, url, headers=SERVICE) as answer:
        return answer.status


REFUSALS = {
    "too many requests": (429, "application/json", b'{"error": "slow down"}'),
    "an error": (500, "text/plain", b"out of order"),
    "a long error": (503, "text/html", b"x" * 100_000),
}


@pytest.mark.parametrize(("status", "content_type", "body"), REFUSALS.values(), ids=REFUSALS)
async def test_an_error_of_the_upstream_is_passed_on_and_no_stream_is_made(
    http: ClientSession,
    upstream: Upstream,
    gateway: Headgate,
    status: int,
    content_type: str,
    body: bytes,
) -> None:
    before = await stream_names(http, gateway)
    upstream.status, upstream.parts = status, [body]
    upstream.fields = {"Content-Type": content_type}
    async with create(http, gateway, upstream.url) as answer:
        assert answer.status == 502
        assert answer.headers["Upstream-Status"] == str(status)
        assert answer.headers["Content-Type"] == content_type
        assert "Location" not in answer.headers
        assert await answer.read() == body[:65536]
    assert await stream_names(http, gateway) == before


async def stream_names(http: ClientSession, gateway: Headgate) -> list[str]:
    """Return the streams of the gateway, with their records."""
    page = f"{gateway.admin_url}/api/v1/streams?route=/v1/stream&limit={LARGEST_PAGE}"
    async with http.get(page) as answer:
        return [row["name"] for row in (await answer.json())["rows"]]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_refused_and_not_followed(
    http: ClientSession, upstream: Upstream, gateway: Headgate, status: int
) -> None:
    before = await stream_names(http, gateway)
    upstream.status, upstream.parts = status, []
    upstream.fields = {"Location": f"{upstream.url}/admin"}
    async with create(http, gateway, f"{upstream.url}/v1") as answer:
        assert answer.status == 400
        assert (await answer.json())["error"]["code"] == "REDIRECT_NOT_ALLOWED"
    assert await stream_names(http, gateway) == before
    assert [request.path for request in upstream.requests] == ["/v1"]


async def test_an_upstream_that_gives_no_head_in_time_is_a_timeout(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.is_silent = True
    with gateway_with_proxy(tmp_path, {"read_timeout": 0.2}) as gateway:
        async with create(http, gateway, upstream.url) as answer:
            assert answer.status == 504
            assert (await answer.json())["error"]["code"] == "UPSTREAM_TIMEOUT"


async def test_an_upstream_that_cannot_be_reached_is_an_error(
    http: ClientSession, gateway: Headgate
) -> None:
    async with create(http, gateway, "http://127.0.0.1:1/") as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["code"] == "UPSTREAM_ERROR"


async def test_a_response_that_is_compressed_unasked_is_an_error(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    upstream.fields = {"Content-Type": "text/plain", "Content-Encoding": "gzip"}
    async with create(http, gateway, upstream.url) as answer:
        assert answer.status == 502
        assert (await answer.json())["error"]["code"] == "UPSTREAM_ERROR"


async def test_a_client_that_leaves_before_the_head_ends_the_request(
    http: ClientSession, upstream: Upstream, gateway: Headgate
) -> None:
    before = await stream_names(http, gateway)
    upstream.is_silent = True
    asking = asyncio.create_task(created(http, gateway, upstream))
    await until(lambda: bool(upstream.requests))
    asking.cancel()
    await asyncio.wait_for(upstream.has_left.wait(), 10)

    async def has_no_more() -> bool:
        return await stream_names(http, gateway) == before

    await until(has_no_more)


async def test_more_responses_than_may_run_for_a_token_are_refused(
    http: ClientSession, upstream: Upstream, tmp_path: Path
) -> None:
    upstream.hold()
    with gateway_with_proxy(tmp_path, {"max_client_answers": 1}) as gateway:
        await created(http, gateway, upstream)
        async with create(http, gateway, upstream.url) as answer:
            assert answer.status == 429
            assert (await answer.json())["error"]["code"] == "CLIENT_LIMIT_REACHED"
