"""Tokens do not wait for a request of their own; `make bench` measures how late they are."""

from __future__ import annotations

import asyncio

import pytest
from headgate import StreamWriter

from tests.client.writing import JSON, TEXT, made
from tests.support.delaying_proxy import DelayingProxy
from tests.support.serving import serving

TOKENS = 100
EVERY_S = 0.002
WAY_S = 0.020


@pytest.mark.parametrize("content_type", [JSON, TEXT])
async def test_writers_send_tokens_in_fewer_than_half_as_many_requests(content_type: str) -> None:
    async with serving() as gateway, DelayingProxy(gateway.port, latency_s=WAY_S) as way:
        url = await made(f"http://127.0.0.1:{way.port}", content_type)
        async with StreamWriter(url) as writer:
            for number in range(TOKENS):
                await writer.write(f"{number} ")
                await asyncio.sleep(EVERY_S)
        assert 0 < way.appends < TOKENS / 2
