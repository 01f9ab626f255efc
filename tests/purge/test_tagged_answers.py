"""Which answers tell caches in front by what they are purged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.protocol.cache_headers import TAG_HEADERS, route_tag, stream_tag
from tests.support.raw_origin import RawOrigin, Wire, answer
from tests.support.serving import EDGE, PREFIX, edge_serving, get, post, put, request, serving

if TYPE_CHECKING:
    from tests.support.http1 import Answer

NAMES = [name for name, _ in TAG_HEADERS]
NOTHING = [None] * len(NAMES)


def told(got: Answer) -> list[str | None]:
    return [got.get(name) for name in NAMES]


def ours(path: str, prefix: str) -> list[str | None]:
    pair = stream_tag(path), route_tag(prefix)
    return [between.join(pair) for _, between in TAG_HEADERS]


async def test_chunks_of_a_log_are_tagged_on_a_miss_on_a_hit_and_in_a_304() -> None:
    async with serving() as gateway:
        await gateway.ask(put("a%2fb", body=b"one"))
        wanted = ours(f"{PREFIX}/a%2Fb", PREFIX)
        target = f"{PREFIX}/a%2Fb?offset=-1"
        made, kept = [await gateway.ask(get(target)) for _ in range(2)]
        assert [made.get("X-Cache"), kept.get("X-Cache")] == ["MISS", "HIT"]
        assert told(made) == told(kept) == wanted
        confirmed = await gateway.ask(get(target, f"If-None-Match: {made.get('ETag')}"))
        assert (confirmed.status, told(confirmed)) == (304, wanted)


async def test_the_answer_of_a_waiting_poll_carries_the_cache_tags() -> None:
    async with serving() as gateway:
        await gateway.ask(put("s", body=b"one"))
        tail = (await gateway.ask(get("s?offset=-1"))).get("Stream-Next-Offset")
        client = await gateway.connect()
        client.send(get(f"s?offset={tail}&live=long-poll"))
        await gateway.ask(post("s", b"two"))
        assert told(await client.answer()) == ours(f"{PREFIX}/s", PREFIX)


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(request("HEAD", "s"), id="a-head-request"),
        pytest.param(get("s?offset=now"), id="a-read-from-now"),
        pytest.param(get("absent?offset=-1"), id="a-read-of-an-absent-stream"),
        pytest.param(get("s?offset=-1&live=nonsense"), id="a-malformed-read"),
        pytest.param(post("s", b"more"), id="an-append"),
        pytest.param(put("s"), id="a-creation"),
        pytest.param(request("DELETE", "s"), id="a-delete"),
        pytest.param(request("OPTIONS", "s"), id="an-options-request"),
    ],
)
async def test_responses_that_no_cache_stores_are_not_tagged(asked: bytes) -> None:
    async with serving() as gateway:
        await gateway.ask(put("s"))
        assert told(await gateway.ask(asked)) == NOTHING


async def test_a_long_poll_that_times_out_is_not_tagged() -> None:
    async with serving(long_poll_timeout=0.05) as gateway:
        await gateway.ask(put("s", body=b"one"))
        tail = (await gateway.ask(get("s?offset=-1"))).get("Stream-Next-Offset")
        ended = await gateway.ask(get(f"s?offset={tail}&live=long-poll"))
        assert (ended.status, told(ended)) == (204, NOTHING)


def says(*lines: str, status: str = "200 OK") -> bytes:
    read = ("Content-Type: text/plain", "Stream-Next-Offset: 5")
    return answer(b"hello", *read, *lines, status=status)


@pytest.mark.parametrize(
    ("lines", "is_tagged"),
    [
        ((), True),
        (("Cache-Control: public, max-age=60",), True),
        (("Cache-Control: max-age=60", 'ETag: "e"'), True),
        (("Cache-Control: private, max-age=60",), False),
        (("Cache-Control: no-store",), False),
        (("Cache-Control: no-cache", 'ETag: "e"'), False),
        (("Set-Cookie: a=b", "Cache-Control: max-age=60"), False),
        (("Set-Cookie: a=b", "Cache-Control: public, max-age=60"), False),
    ],
)
async def test_origin_responses_are_tagged_only_if_shared_caches_may_store_them(
    lines: tuple[str, ...], is_tagged: bool
) -> None:
    async def play(wire: Wire) -> None:
        await wire.send(says(*lines))

    async with RawOrigin(play) as origin, edge_serving(origin) as gateway:
        for _ in range(2):  # from the origin, and from the cache where it is kept
            got = await gateway.ask(get(f"{EDGE}/s?offset=1"))
            assert (got.status, got.body) == (200, b"hello")
            assert told(got) == (ours(f"{EDGE}/s", EDGE) if is_tagged else NOTHING)


@pytest.mark.parametrize(
    ("control", "is_tagged"), [("public, max-age=60", True), ("max-age=60", False)]
)
async def test_a_response_to_an_authorized_request_is_tagged_only_if_it_is_public(
    control: str, is_tagged: bool
) -> None:
    async def play(wire: Wire) -> None:
        await wire.send(says(f"Cache-Control: {control}", "Cache-Tag: theirs"))

    async with RawOrigin(play) as origin, edge_serving(origin) as gateway:
        got = await gateway.ask(get(f"{EDGE}/s?offset=1", "Authorization: Bearer a"))
        assert got.get("Surrogate-Key") == (ours(f"{EDGE}/s", EDGE)[0] if is_tagged else None)
        assert (got.get("Cache-Tag") or "").startswith("theirs")
