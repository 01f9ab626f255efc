"""Proxied responses in a Redis, which several gateways serve."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.proxies.serving import SERVICE, created, gateway_with_proxy
from tests.proxies.test_streams import ended, head, stored, unsigned, until_stored
from tests.proxies.upstream import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from tests.proxies.upstream import Upstream
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")


@contextlib.asynccontextmanager
async def held(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str
) -> AsyncIterator[tuple[Upstream, Headgate, Headgate, str]]:
    """A response that waits for its upstream, two gateways, and its URL at the second."""
    async with serving() as upstream:
        upstream.hold()
        with (
            gateway_with_proxy(tmp_path, origin=origin) as one,
            gateway_with_proxy(tmp_path, origin=origin) as other,
        ):
            url = (await created(http, one, upstream)).replace(one.url, other.url)
            yield upstream, one, other, url


async def test_a_response_is_read_and_aborted_at_another_gateway_than_the_one_that_writes_it(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str
) -> None:
    async with held(http, tmp_path, origin) as (upstream, one, other, url):
        upstream.allow(1)
        await until_stored(http, url, upstream.parts[0])
        async with http.patch(f"{url}&action=abort") as answer:
            assert answer.status == 204
        await asyncio.wait_for(upstream.has_left.wait(), 10)
        for gateway in (one, other):
            there = url.replace(other.url, gateway.url)
            metadata = await head(http, there)
            assert metadata["Upstream-Outcome"] == "aborted"
            assert metadata["Upstream-Content-Type"] == "text/event-stream"
            assert await stored(http, there) == upstream.parts[0]


async def test_a_response_is_deleted_at_another_gateway_than_the_one_that_writes_it(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str
) -> None:
    async with held(http, tmp_path, origin) as (upstream, _, _, url):
        async with http.delete(unsigned(url), headers=SERVICE) as answer:
            assert answer.status == 204
        await asyncio.wait_for(upstream.has_left.wait(), 10)
        async with http.get(url) as answer:
            assert answer.status == 404


async def test_the_response_of_a_gateway_that_is_killed_is_ended_by_another_one(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str
) -> None:
    async with held(http, tmp_path, origin) as (upstream, one, _, url):
        upstream.allow(1)
        await until_stored(http, url, upstream.parts[0])
        one.kill()
        assert (await ended(http, url))["Upstream-Outcome"] == "failed"
        assert await stored(http, url) == upstream.parts[0]
