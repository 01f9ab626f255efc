"""What an EventSource is answered in place of a status that would close it for good."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.web.handlers.dispatch import MOST_WAIT_S
from tests.support.ports import free_port
from tests.support.raw_origin import RawOrigin, answer
from tests.support.serving import EDGE, edge_serving, get, put, serving

if TYPE_CHECKING:
    from tests.support.http1 import Answer

# What the standard has an EventSource send; libraries set the first of these by themselves.
ACCEPT, NO_CACHE = "Accept: text/event-stream", "Cache-Control: no-cache"
SSE = "offset=-1&live=sse"
OTHERS = {
    "a client that sets Accept by itself": (SSE, (ACCEPT,)),
    "a client that says nothing": (SSE, (NO_CACHE,)),
    "a long-poll": ("offset=-1&live=long-poll", (ACCEPT, NO_CACHE)),
    "catch-up": ("offset=-1", (ACCEPT, NO_CACHE)),
}


def assert_told_to_wait(given: Answer, status: int, within_s: range) -> None:
    assert (given.status, given.get("Content-Type")) == (200, "text/event-stream")
    assert given.get("Cache-Control") == "no-store"
    assert given.get("Access-Control-Allow-Origin") == "*"
    refused, _, wait = given.body.decode().partition("\n")
    assert refused == f": {status}"
    found = re.fullmatch(r"retry: ([0-9]+)[0-9]{3}\n\n", wait)
    assert found is not None, wait
    assert int(found[1]) in within_s


async def test_an_event_source_reconnects_while_the_origin_is_down() -> None:
    async with edge_serving(f"http://127.0.0.1:{free_port()}") as gateway:
        given = await gateway.ask(get(f"{EDGE}/s?{SSE}", ACCEPT, NO_CACHE))
        assert_told_to_wait(given, 502, range(1, 4))
        assert given.get("X-Request-Id")


@pytest.mark.parametrize("who", OTHERS)
async def test_a_client_that_is_no_event_source_gets_502_while_the_origin_is_down(who: str) -> None:
    query, lines = OTHERS[who]
    async with edge_serving(f"http://127.0.0.1:{free_port()}") as gateway:
        given = await gateway.ask(get(f"{EDGE}/s?{query}", *lines))
        given.assert_problem(502)
        assert given.get("Retry-After") in {"1", "2", "3"}


async def test_an_event_source_reconnects_after_a_refusal_for_too_many_readers() -> None:
    async with serving(max_live_readers=1) as gateway:
        await gateway.ask(put("s", body=b"one"))
        first = await gateway.connect()
        first.send(get(f"s?{SSE}", ACCEPT, NO_CACHE))
        assert (await first.head()).status == 200
        (await gateway.ask(get(f"s?{SSE}", ACCEPT))).assert_problem(503)
        given = await gateway.ask(get(f"s?{SSE}", ACCEPT, NO_CACHE))
        assert_told_to_wait(given, 503, range(1, 4))


@pytest.mark.parametrize(
    ("said", "within_s"),
    [("7", range(7, 10)), ("3600", range(10, 11))],
    ids=["within-the-bound", "beyond-the-bound"],
)
async def test_an_event_source_reconnects_after_the_origins_retry_after_up_to_a_bound(
    said: str, within_s: range
) -> None:
    assert MOST_WAIT_S == 10
    busy = answer(b"", f"Retry-After: {said}", status="503 Busy")
    async with RawOrigin(busy) as origin, edge_serving(origin) as gateway:
        given = await gateway.ask(get(f"{EDGE}/s?{SSE}", ACCEPT, NO_CACHE))
        assert_told_to_wait(given, 503, within_s)


async def test_an_event_source_gets_404_for_an_absent_stream() -> None:
    async with serving() as gateway:
        given = await gateway.ask(get(f"none?{SSE}", ACCEPT, NO_CACHE))
        given.assert_problem(404)
