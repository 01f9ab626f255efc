"""What shared caches are told of closed streams that are read from the beginning."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from headgate_gateway.protocol.cache_headers import PurgeTrust
from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.streams.reads import RENEWED_S
from tests.support.serving import (
    EDGE,
    PREFIX,
    edge_serving,
    get,
    offset,
    post,
    put,
    request,
    serving,
    serving_with,
)

if TYPE_CHECKING:
    from tests.support.http1 import Answer
    from tests.support.serving import Serving

KEPT = {"closed_max_age": 60}
LONG = b"x" * CHUNK_BYTES
BEGINNING = get("s?offset=-1")
SURROGATES = PurgeTrust(("Surrogate-Control",), 30.0)
DAY_S = 86_400


async def lifetimes(gateway: Serving, wire: bytes = BEGINNING) -> tuple[str | None, ...]:
    """For browsers and all caches, for those that go by CDN-Cache-Control, and for surrogates."""
    return spelled(await gateway.ask(wire))


def spelled(got: Answer) -> tuple[str | None, ...]:
    assert got.status == 200
    names = ("Cache-Control", "CDN-Cache-Control", "Surrogate-Control")
    return tuple(got.get(name) for name in names)


def shared(age: int, surrogates: int = 0) -> tuple[str, ...]:
    ages = f"public, max-age={age}", f"public, max-age={surrogates or age}"
    return (f"no-cache, s-maxage={age}, stale-while-revalidate=0", *ages)


def trusting(gateway: Serving, trust: PurgeTrust) -> None:
    """As a log in a file is, whose caches are purged."""
    gateway.route.freshness.trusts_purges = True
    purges: Any = SimpleNamespace(trust=lambda: trust)
    gateway.services.front_caches.purge_by(purges)


async def test_a_closed_stream_is_stored_for_a_minute_by_shared_caches_alone() -> None:
    async with serving_with(put("s", "Stream-Closed: true", body=b"one"), own=KEPT) as gateway:
        await gateway.ask(put("open", body=b"one"))
        assert await lifetimes(gateway) == shared(60)
        assert await lifetimes(gateway, get("s")) == shared(60)
        assert await lifetimes(gateway, get("open?offset=-1")) == shared(1)


async def test_a_gateway_in_front_keeps_a_closed_stream_as_its_own_route_says() -> None:
    async with serving(own=KEPT) as behind:
        await behind.ask(put("s", "Stream-Closed: true", body=b"one"))
        url = f"http://127.0.0.1:{behind.port}{PREFIX}"
        for route, age in (({}, 1), (KEPT, 60)):
            async with edge_serving(url, route) as gateway:
                for _ in range(2):
                    assert await lifetimes(gateway, get(f"{EDGE}/s?offset=-1")) == shared(age)


async def test_the_first_chunk_of_a_long_stream_is_stored_for_longer_once_it_is_closed() -> None:
    async with serving_with(put("s", body=LONG), own=KEPT) as gateway:
        await gateway.ask(post("s", b"more"))
        assert await lifetimes(gateway) == shared(1)
        await gateway.ask(post("s", b"", "Stream-Closed: true"))
        gateway.clock.advance(RENEWED_S)
        assert await lifetimes(gateway) == shared(60)


async def test_a_purged_cache_stores_a_closed_stream_for_a_day_while_purges_succeed() -> None:
    async with serving_with(put("s", "Stream-Closed: true", body=b"one"), own=KEPT) as gateway:
        trusting(gateway, SURROGATES)
        for _ in range(2):
            assert await lifetimes(gateway) == shared(60, DAY_S)
        trusting(gateway, PurgeTrust((), 5.0))
        gateway.clock.advance(SURROGATES.for_s)
        assert await lifetimes(gateway) == shared(60)
        trusting(gateway, SURROGATES)
        gateway.clock.advance(5.0)
        assert await lifetimes(gateway) == shared(60, DAY_S)


async def test_purges_do_not_count_for_a_log_that_may_lose_streams_without_a_request() -> None:
    async with serving_with(put("s", "Stream-Closed: true", body=b"one"), own=KEPT) as gateway:
        trusting(gateway, SURROGATES)
        gateway.route.freshness.trusts_purges = False
        assert await lifetimes(gateway) == shared(60)


@pytest.mark.parametrize(
    ("body", "age"),
    [
        pytest.param(b"one", 60, id="read-whole"),
        pytest.param(LONG + b"more", 1, id="longer-than-a-chunk"),
    ],
)
async def test_a_stream_with_retention_is_not_stored_for_a_day(body: bytes, age: int) -> None:
    async with serving(own={**KEPT, "retention_age": 3600}) as gateway:
        await gateway.ask(put("s", body=body[:CHUNK_BYTES]))
        await gateway.ask(post("s", body[CHUNK_BYTES:], "Stream-Closed: true"))
        trusting(gateway, SURROGATES)
        assert await lifetimes(gateway) == shared(age)


async def test_a_stream_created_anew_is_read_from_the_gateway_at_once() -> None:
    async with serving(own=KEPT) as gateway:
        for body in (b"one", b"two"):
            await gateway.ask(put("s", "Stream-Closed: true", body=body))
            assert (await gateway.ask(BEGINNING)).body == body
            await gateway.ask(request("DELETE", "s"))


async def test_an_unchanged_closed_stream_is_confirmed_with_304() -> None:
    async with serving_with(put("s", "Stream-Closed: true", body=b"one"), own=KEPT) as gateway:
        tag = (await gateway.ask(BEGINNING)).headers["etag"]
        confirmed = await gateway.ask(get("s?offset=-1", f"If-None-Match: {tag}"))
        assert confirmed.status == 304
        assert confirmed.get("Cache-Control") == "no-cache, s-maxage=60, stale-while-revalidate=0"
        assert offset(3) == confirmed.next_offset
