"""Reads whose data a gateway fetches from a shared log again, which a cache would have spared."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from headgate_gateway.protocol.streams.chunks import CHUNK_BYTES
from headgate_gateway.streams.metrics import REFETCHES
from headgate_gateway.streams.refetches import PLACES, Refetches
from tests.streams.service import two
from tests.streams.shared_log import SharedLog
from tests.support.serving import Serving, get, post, put, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.http1 import Answer

NAMES = [f"chat{number}" for number in range(20)]


def count(gateway: Serving) -> float | None:
    """Return the number of refetches that a scrape finds; None if there is none."""
    found = [it.number for it in gateway.route.samples() if it.metric is REFETCHES]
    return found[0] if found else None


async def read(gateway: Serving, target: str, times: int = 1) -> Answer:
    answers = [await gateway.ask(get(target)) for _ in range(times)]
    assert {answer.status for answer in answers} == {200}
    return answers[-1]


@contextlib.asynccontextmanager
async def without_cache(*names: str, body: bytes = b"text") -> AsyncIterator[Serving]:
    """Serve these streams of a shared log without a cache."""
    async with serving(SharedLog()) as gateway:
        gateway.store.resize(0)
        for name in names:
            assert (await gateway.ask(put(name, body=body))).status == 201
        yield gateway


@pytest.mark.parametrize(
    ("cache_bytes", "refetches"), [(1 << 20, 0), (0, 4)], ids=["with-a-cache", "without-one"]
)
async def test_equal_reads_of_a_shared_log_are_refetches_while_its_cache_is_off(
    cache_bytes: int, refetches: int
) -> None:
    async with without_cache("s") as gateway:
        gateway.store.resize(cache_bytes)
        await read(gateway, "s?offset=-1", 5)
        assert count(gateway) == refetches


async def test_the_first_read_of_each_of_many_streams_is_no_refetch() -> None:
    async with without_cache(*NAMES) as gateway:
        for name in NAMES:
            await read(gateway, f"{name}?offset=-1")
        assert count(gateway) == 0


async def test_a_read_of_what_has_grown_since_is_no_refetch() -> None:
    async with without_cache("s") as gateway:
        for _ in range(5):
            await read(gateway, "s?offset=-1")
            assert (await gateway.ask(post("s", b"more"))).status == 204
        assert count(gateway) == 0


async def test_a_whole_chunk_is_refetched_although_its_stream_has_grown() -> None:
    async with without_cache("s", body=b"x" * CHUNK_BYTES) as gateway:
        for _ in range(3):
            assert (await gateway.ask(post("s", b"more"))).status == 204
            await read(gateway, "s?offset=-1")
        assert count(gateway) == 2


async def test_reads_at_the_tail_and_readers_of_events_are_no_refetches() -> None:
    async with without_cache("s") as gateway:
        tail = (await read(gateway, "s?offset=-1")).next_offset
        await read(gateway, f"s?offset={tail}", 3)
        await read(gateway, "s?offset=now", 3)
        for _ in range(3):
            client = await gateway.connect()
            client.send(get("s?offset=-1&live=sse"))
            assert (await client.head()).status == 200
            client.close()
        assert count(gateway) == 0


async def test_a_log_of_this_process_alone_has_no_count_of_refetches() -> None:
    async with serving() as gateway:
        gateway.store.resize(0)
        await gateway.ask(put("s", body=b"text"))
        await read(gateway, "s?offset=-1", 5)
        assert count(gateway) is None


async def test_fetches_beyond_the_places_are_forgotten_and_never_counted_as_repeated() -> None:
    service, log, _ = two()
    await service.create("s", b"text")
    state = (await service.table.load("s")).state
    assert state is not None
    chunk = await log.read(state, 0, state.tail)
    chunks = [
        replace(chunk, state=replace(state, stream_id=number)) for number in range(2 * PLACES)
    ]
    refetches = Refetches()
    for it in chunks:
        refetches.note(it, until_change=True)
    assert refetches.count == 0
    for it in chunks[-100:]:  # a few of them share a place
        refetches.note(it, until_change=True)
    assert 95 <= refetches.count <= 100
