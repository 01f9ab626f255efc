"""The writer with the protocol's reference server, which offers no multi-append."""

from __future__ import annotations

from typing import TYPE_CHECKING

import headgate
import pytest
from headgate import StreamWriter

from tests.client.request_proxy import Fate, RequestProxy
from tests.client.writing import OCTETS, TEXT, data, is_closed, made, messages
from tests.support.origin_servers import reference

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiohttp import web

    from tests.support.origin_servers import Reference


@pytest.fixture(scope="module")
def server(processes: None) -> Iterator[Reference]:
    with reference() as server:
        yield server


async def test_a_json_stream_on_the_reference_server_gets_one_batch_of_messages(
    server: Reference,
) -> None:
    url = await made(server.url)
    chunks = [1, "two", [3, [4]], [], {"five": None}, b"6.0"]
    before = server.counts()
    async with StreamWriter(url) as writer:
        for chunk in chunks:
            await writer.write(chunk)
        await writer.end()
    assert await messages(url) == [*chunks[:-1], 6.0]
    assert (server.counts() - before).writes == 1
    assert await is_closed(url)


@pytest.mark.parametrize("content_type", [TEXT, OCTETS])
async def test_non_json_streams_on_the_reference_server_get_one_chunk_per_request(
    content_type: str, server: Reference
) -> None:
    url = await made(server.url, content_type)
    before = server.counts()
    async with StreamWriter(url) as writer:
        for text in ("one ", b"two ", "three"):
            await writer.write(text)
        await writer.end()
    assert await data(url) == b"one two three"
    assert (server.counts() - before).writes == 3
    assert await is_closed(url)


@pytest.mark.parametrize("fate", [Fate.LOST, Fate.LOST_AFTER, Fate.FAILED_AFTER])
async def test_lost_responses_of_the_reference_server_duplicate_no_chunk(
    fate: Fate, server: Reference
) -> None:
    lost = 0

    async def every_second(request: web.Request) -> Fate:
        nonlocal lost
        lost += request.method == "POST"
        return fate if request.method == "POST" and lost % 2 else Fate.PASSED

    async with RequestProxy(server.port, every_second) as way:
        url = await made(way.url)
        async with StreamWriter(url) as writer:
            for number in range(3):
                await writer.write(number)
                await writer.flush()
            await writer.end()
        assert await messages(url) == [0, 1, 2]
        assert await is_closed(url)
        assert len(way.appends) == 8


async def test_a_used_or_outdated_epoch_raises_producer_fenced_on_the_reference_server(
    server: Reference,
) -> None:
    url = await made(server.url)

    async def write(epoch: int) -> None:
        async with StreamWriter(url, producer_id="me", epoch=epoch) as writer:
            await writer.write(epoch)

    await write(2)
    for epoch in (1, 2):
        with pytest.raises(headgate.Fenced) as raised:
            await write(epoch)
        assert raised.value.epoch == 2
    await write(3)
    assert await messages(url) == [2, 3]
