"""An offset one byte past an origin's tail, as the official Yjs server reckons it."""

from __future__ import annotations

import pytest

from tests.edge.live_readers import S
from tests.support.raw_origin import RawOrigin, answer, silence
from tests.support.serving import edge_serving, get

TAIL = ("Content-Type: text/plain", "Stream-Next-Offset: 0000_0009", "Stream-Up-To-Date: true")


@pytest.mark.parametrize(
    ("asked", "status"), [("0000_0009", 200), ("0000_0010", 200), ("0000_0011", 503)]
)
async def test_a_read_one_byte_past_the_origins_tail_gets_its_own_offset_back(
    asked: str, status: int
) -> None:
    async with RawOrigin(answer(b"", *TAIL)) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(get(f"{S}?offset={asked}"))
        assert got.status == status
        assert raw.lines() == [f"GET {S}?offset={asked}"]
        if status == 200:
            assert (got.body, got.get("Stream-Next-Offset")) == (b"", asked)
            assert got.get("Stream-Up-To-Date") == "true"


async def test_a_poll_one_byte_past_the_tail_waits_at_its_own_offset() -> None:
    news = answer(b"more", TAIL[0], "Stream-Next-Offset: 0000_0013", TAIL[2])
    async with RawOrigin(answer(b"", *TAIL), news, silence) as raw, edge_serving(raw) as gateway:
        got = await gateway.ask(get(f"{S}?offset=0000_0010&live=long-poll"))
        assert (got.status, got.body) == (200, b"more")
        assert got.get("Stream-Next-Offset") == "0000_0013"
        assert "offset=0000_0010" in raw.lines()[1]


async def test_a_response_with_data_that_ends_before_its_offset_is_a_503() -> None:
    async with RawOrigin(answer(b"data", *TAIL)) as raw, edge_serving(raw) as gateway:
        assert (await gateway.ask(get(f"{S}?offset=0000_0010"))).status == 503
