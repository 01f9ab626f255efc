"""What costs a client little and could cost the server ever more: each ends at a bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate_gateway.protocol import appends, lifecycle
from headgate_gateway.telemetry.traffic import HIT
from tests.support.serving import PREFIX, Serving, get, post, put, serving

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pytest

MANY = 300
MOST = 50


async def statuses(gateway: Serving, requests: Sequence[bytes]) -> list[int]:
    """Of the answers to requests that are sent one after the other, all at once."""
    client = await gateway.connect()
    sending = asyncio.create_task(client.send_all(b"".join(requests)))
    found = [(await client.answer()).status for _ in requests]
    await sending
    client.close()
    return found


def stamped(number: int) -> bytes:
    """An append of a producer that is new."""
    lines = (f"Producer-Id: p{number}", "Producer-Epoch: 0", "Producer-Seq: 0")
    return post("s", b"x", *lines)


async def test_the_producers_of_a_stream_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(appends, "MAX_PRODUCERS", MOST)
    async with serving() as gateway:
        await gateway.ask(put("s"))
        found = await statuses(gateway, [stamped(number) for number in range(MANY)])
        assert found == [200] * MOST + [409] * (MANY - MOST)
        assert gateway.limits.refused["stream_producers"] == MANY - MOST
        assert (await gateway.ask(post("s", b"y"))).status == 204  # it goes on for the others
        again = await statuses(gateway, [stamped(0)])
        assert again == [204]  # and knows those it has


async def test_a_chain_of_forks_is_refused_at_the_depth_limit() -> None:
    deep = lifecycle.MAX_FORK_DEPTH
    async with serving() as gateway:
        await gateway.ask(put("f0", body=b"0"))
        chain = [
            put(f"f{number}", f"Stream-Forked-From: {PREFIX}/f{number - 1}", body=b"1")
            for number in range(1, deep + 3)
        ]
        found = await statuses(gateway, chain)
        # The next one names a source that was refused.
        assert found == [201] * deep + [409, 404]
        assert gateway.limits.refused["fork_depth"] == 1
        assert len((await gateway.ask(get(f"f{deep}?offset=-1"))).body) == deep + 1


async def test_polls_with_distinct_cursors_do_not_evict_a_popular_response() -> None:
    size = 100_000
    async with serving(cache_size=size) as gateway:
        await gateway.ask(put("s", body=b"x" * 1000))
        popular = get("s?offset=-1")
        await statuses(gateway, [popular] * 2)
        cursors = [get(f"s?offset=-1&live=long-poll&cursor={number}") for number in range(MANY)]
        assert await statuses(gateway, cursors) == [200] * MANY
        assert gateway.store.bytes <= size
        assert gateway.route.traffic.cache_share.evictions > 0
        hits = gateway.route.traffic.result_count(HIT)
        await statuses(gateway, [popular])
        assert gateway.route.traffic.result_count(HIT) == hits + 1  # it was not pushed out
