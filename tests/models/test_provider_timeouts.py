"""The time that a provider has for the next part of its response: it begins and ends with a wait.

What a provider has sent already is no fault of its, however long its reader takes for that.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
from multidict import CIMultiDict

from headgate_gateway.errors import OriginTimeout
from headgate_gateway.features.models.provider.client import ProviderClient, body_parts
from tests.support.raw_origin import RawOrigin, answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.raw_origin import Wire

READ_S = 0.4
PAUSE_S = 2 * READ_S
UPLOAD = 8 << 20  # bytes: more than the sockets on loopback take ahead


@contextlib.asynccontextmanager
async def calling(origin: RawOrigin) -> AsyncIterator[ProviderClient]:
    client = ProviderClient([origin.url], {}, read_timeout_s=READ_S)
    try:
        yield client
    finally:
        await client.close()


async def read(client: ProviderClient, method: str, body: bytes | None, pause_s: float) -> bytes:
    """Return the body of a response, the parts of which are read after a pause."""
    response = await client.request(method, "/", CIMultiDict(), body)
    await asyncio.sleep(pause_s)
    return b"".join([part async for part in body_parts(response)])


@pytest.mark.filterwarnings("ignore:Sending a large body")  # of aiohttp, about the event loop
@pytest.mark.parametrize("size", [150_000, 1_000_000])
@pytest.mark.parametrize("pause_s", [0.0, PAUSE_S])
async def test_a_request_behind_a_long_answer_on_its_connection_has_all_of_its_own_time(
    size: int, pause_s: float
) -> None:
    async def play(wire: Wire) -> None:
        if wire.heard.method == "GET":
            await wire.send(answer(b"x" * size, "Content-Type: application/octet-stream"))
            return
        await asyncio.sleep(READ_S / 2)  # as a server that is busy before it reads
        assert len(await wire.body()) == UPLOAD
        await wire.send(answer(b"read", "Content-Type: text/plain"))

    async with RawOrigin(play) as origin, calling(origin) as client:
        assert await read(client, "GET", None, pause_s) == b"x" * size
        assert await read(client, "POST", b"u" * UPLOAD, 0.0) == b"read"
        assert [heard.connection for heard in origin.heard] == [1, 1]


async def test_a_provider_that_stops_in_the_middle_has_read_timeout_for_the_next_part() -> None:
    async def play(wire: Wire) -> None:
        await wire.send(answer(b"x" * 150_000, "Content-Type: text/plain")[:-1])
        await wire.rest()

    async with RawOrigin(play) as origin, calling(origin) as client:
        response = await client.request("GET", "/", CIMultiDict(), None)
        await asyncio.sleep(PAUSE_S)
        parts = body_parts(response)
        assert len(await anext(parts)) == 149_999
        await asyncio.sleep(PAUSE_S)
        begun = asyncio.get_running_loop().time()
        with pytest.raises(OriginTimeout):
            await anext(parts)
        assert READ_S <= asyncio.get_running_loop().time() - begun < PAUSE_S + READ_S
