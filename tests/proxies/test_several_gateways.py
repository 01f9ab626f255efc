"""Proxied responses in a Redis, which several gateways serve."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.features.models.claims import PRODUCER
from headgate_gateway.features.models.ends import ABORTED
from tests.models.shared.gateways import held_after, held_ends, in_thread
from tests.proxies.serving import SERVICE, STREAMS, created, gateway_with_proxy
from tests.proxies.test_streams import ended, head, stored, unsigned, until_stored
from tests.proxies.upstream import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    import aiohttp

    from tests.proxies.upstream import Upstream
    from tests.support.processes import Headgate

pytestmark = pytest.mark.usefixtures("processes")

TAKEN = "answer.taken"  # a warning: a gateway stood still


@contextlib.asynccontextmanager
async def held(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str, of_other: str | None = None
) -> AsyncIterator[tuple[Upstream, Headgate, Headgate, str]]:
    """A response that waits for its upstream, two gateways, and its URL at the second.

    The second one has the log at `of_other`, if that is given.
    """
    async with serving() as upstream:
        upstream.hold()
        async with (
            in_thread(gateway_with_proxy(tmp_path, origin=origin)) as one,
            in_thread(gateway_with_proxy(tmp_path, origin=of_other or origin)) as other,
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


async def aborted(http: aiohttp.ClientSession, url: str) -> int:
    """Abort a response; return the status."""
    async with http.patch(f"{url}&action=abort") as answer:
        return answer.status


async def test_an_abort_stays_one_if_the_gateway_that_writes_is_first_to_record_it(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str
) -> None:
    async with (
        held_after(origin, f"{PRODUCER}.aborted".encode()) as (relay, slow),
        held(http, tmp_path, origin, slow) as (upstream, one, other, url),
    ):
        upstream.allow(1)
        await until_stored(http, url, upstream.parts[0])
        aborting = asyncio.create_task(aborted(http, url))
        await asyncio.wait_for(relay.held.wait(), 10)
        await asyncio.wait_for(upstream.has_left.wait(), 10)
        here = url.replace(other.url, one.url)
        assert (await ended(http, here))["Upstream-Outcome"] == "aborted"
        relay.release()
        assert await aborting == 204
        assert (await ended(http, url))["Upstream-Outcome"] == "aborted"
        assert TAKEN not in one.output()
        async with http.get(
            f"{one.url}{STREAMS}/{unsigned(url).rpartition('/')[2]}/record?offset=-1"
        ) as record:
            (end,) = [it for it in await record.json() if it["entry"] == "end"]
        assert (end["outcome"], end["reason"]) == ("aborted", ABORTED.sentence)


async def test_a_whole_response_stays_one_if_the_gateway_that_aborts_it_is_first_to_record_it(
    http: aiohttp.ClientSession, tmp_path: Path, origin: str
) -> None:
    async with (
        held_ends(origin) as (relay, slow),
        held(http, tmp_path, slow, origin) as (upstream, one, other, url),
    ):
        upstream.allow()
        await asyncio.wait_for(relay.held.wait(), 10)
        assert await aborted(http, url) == 204
        assert (await ended(http, url))["Upstream-Outcome"] == "complete"
        relay.release()
        here = url.replace(other.url, one.url)
        assert (await ended(http, here))["Upstream-Outcome"] == "complete"
        assert TAKEN not in one.output()


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
