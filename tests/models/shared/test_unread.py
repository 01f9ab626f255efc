"""Answers whose readers are at another gateway than the one that writes them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from gateway.features.models.unread import UNREAD_S
from tests.models.shared.gateways import RESPONSES, ask, events_from, held_gateways

if TYPE_CHECKING:
    import aiohttp

pytestmark = pytest.mark.usefixtures("processes")


@pytest.mark.parametrize("query", ["?offset=-1&live=sse", "?offset=-1"])
async def test_an_answer_goes_on_while_somebody_reads_it_at_another_gateway(
    http: aiohttp.ClientSession, origin: str, query: str
) -> None:
    async with held_gateways(origin) as (provider, one, other):
        async with ask(http, one, "", path=RESPONSES) as answer:
            await events_from(answer, 3)
            url = f"{other.url}{urlsplit(answer.headers['Stream-URL']).path}{query}"

        async def read() -> None:
            while True:
                async with http.get(url) as reading:
                    await reading.read()
                await asyncio.sleep(1.0)

        reader = asyncio.create_task(read())
        await asyncio.sleep(UNREAD_S + 2.0)
        assert provider.left == 0
        reader.cancel()
        await asyncio.wait([reader])
        async with asyncio.timeout(40):  # the other gateway follows the stream for 10 s more
            await provider.has_left.wait()
