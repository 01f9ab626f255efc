"""Every reader comes to an end, on a Headgate and on the protocol's reference server."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate.runs import Runs
from headgate.stream_requests import StreamRequests
from tests.client.request_proxy import Fate, RequestProxy
from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, die, read, read_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aiohttp import web

    from tests.support.origin_servers import Reference
    from tests.support.threaded import Threaded

# What a reader takes at most to find out, after the silence that it waits for.
WITHIN_S = 10.0
BEGUN = b'id: 1\ndata: "Once "\n\n'
GONE = (
    b'id: 2\nevent: end\ndata: {"status":"failed","error":'
    b'"the run is no longer there: deleted, expired, or lost by its server"}\n\n'
)
ORPHANED = b'id: 2\nevent: end\ndata: {"status":"orphaned","error":"its producer is gone"}\n\n'


pytestmark = pytest.mark.parametrize(
    "any_server",
    ["Headgate", pytest.param("reference", marks=pytest.mark.processes)],
    indirect=True,
)


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


async def rest(body: AsyncIterator[bytes]) -> bytes:
    async with asyncio.timeout(WITHIN_S):
        return b"".join([piece async for piece in body])


async def test_a_reader_ends_when_the_stream_of_its_run_is_deleted(
    runs: Runs, other: Runs, url: str
) -> None:
    feed = Feed("Once ")
    await runs.start("a", feed.source(), format="sse")
    answer = await other.follow("a")
    assert await read_to(answer, b"\n\n") == BEGUN
    async with StreamRequests(f"{url}/a") as stream:
        await stream.delete()
    assert answer is not None
    assert await rest(answer.body) == GONE
    feed.give("upon")
    await feed.closed.wait()


async def test_a_reader_ends_when_the_stream_of_its_run_expires(url: str) -> None:
    async with Runs(url, orphan_after=ORPHAN_AFTER_S, ttl=ORPHAN_AFTER_S) as runs:
        answer = await runs.start("a", Feed("Once ").source(), format="sse")
        assert await read_to(answer, b"\n\n") == BEGUN
        await die("a")
        # Whichever is looked for first, both the lease and the stream expire.
        assert await rest(answer.body) in {GONE, ORPHANED}


async def test_a_reader_whose_connection_hangs_reads_on_over_a_new_connection(
    runs: Runs, url: str, any_server: Threaded | Reference
) -> None:
    """As behind a proxy that has lost its server and does not say so."""
    live_reads, over = 0, asyncio.Event()

    async def decide(request: web.Request) -> Fate:
        nonlocal live_reads
        if request.query.get("live") == "sse":
            live_reads += 1
            if live_reads == 1:
                await over.wait()
        return Fate.PASSED

    feed = Feed("Once ")
    assert await read_to(await runs.start("a", feed.source(), format="sse"), b"\n\n")
    path = url.removeprefix(f"http://127.0.0.1:{any_server.port}")
    async with (
        RequestProxy(any_server.port, decide) as proxy,
        Runs(f"{proxy.url}{path}", orphan_after=ORPHAN_AFTER_S) as behind,
    ):
        answer = await behind.follow("a")
        assert await read_to(answer, b"\n\n") == b'id: 1\ndata: "Once "\n\n'
        feed.give("upon")
        feed.end()
        try:
            async with asyncio.timeout(WITHIN_S):
                assert (await read(answer)).startswith(b'id: 2\ndata: "upon"\n')
        finally:
            over.set()
        assert live_reads == 2
