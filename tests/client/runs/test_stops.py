"""Stops of runs whose producers are dead, or live and take their time; and producers in doubt."""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from headgate import Closed
from headgate.errors import ABSENT, Unavailable
from headgate.records import SPARE_S, beat_s
from headgate.runs import Runs, RunState
from headgate.runs.stored import orphans
from tests.client.request_proxy import Fate, RequestProxy
from tests.client.runs.sources import Feed, die, of, read, read_to
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aiohttp import web

    from headgate.stream_requests import StreamRequests
    from tests.support.processes import Headgate

STOPPED = RunState("stopped")
ACTIVE = RunState("active")
ORPHANED = RunState("orphaned", "its producer is gone")
LONG_S = 30  # until a lease is lost: nothing here waits for that
SLOW_S = 1.5  # of what takes long here, beside what is promised


@pytest.fixture
def url(any_url: str) -> str:
    return any_url


async def begun(runs: Runs, run_id: str) -> Feed:
    """Start a run, whose producer hears of stops from now on."""
    feed = Feed("Once ")
    await read_to(await runs.start(run_id, feed.source(), format="sse"), b"\n\n")
    await until(lambda: is_there(runs._place(run_id).stop))
    return feed


async def is_there(stream: StreamRequests) -> bool:
    return await stream.find() is not None


async def leave_wish(runs: Runs, run_id: str) -> None:
    """Stop a run in a process that dies as soon as the wish is made."""
    stopping = asyncio.create_task(runs.stop(run_id))
    stop = runs._place(run_id).stop

    async def is_made() -> bool:
        found = await stop.find()
        return found is not None and found.is_closed

    await until(is_made)
    stopping.cancel()
    await asyncio.wait({stopping})


async def test_a_stop_of_a_run_whose_producer_died_ends_it_within_a_heartbeat(url: str) -> None:
    async with Runs(url, orphan_after=3) as runs, Runs(url, orphan_after=3) as other:
        await begun(runs, "a")
        await die("a")
        reader = asyncio.create_task(read(await other.follow("a")))
        time = asyncio.get_running_loop().time
        stopped_at = time()
        assert await other.stop("a") is True
        assert await other.state("a") == STOPPED
        assert time() - stopped_at < beat_s(3) + SLOW_S
        assert b'"status":"stopped"' in await reader
        assert await other.stop("a") is False


LOOKS: dict[str, Callable[[Runs], Awaitable[object]]] = {
    "state": lambda runs: runs.state("a"),
    "stop": lambda runs: runs.stop("a"),
    "start": lambda runs: runs.start("a", of("never"), format="sse"),
    "take_over": lambda runs: runs.take_over(
        "a", lambda _: of("never"), format="sse", only_orphaned=False
    ),
    "follow": lambda runs: runs.follow("a", only_active=True),
    "read": lambda runs: _read_along(runs),
}


@pytest.mark.smoke
@pytest.mark.parametrize("look", LOOKS)
async def test_whoever_looks_next_carries_out_a_stop_that_its_maker_did_not_live_to_see(
    url: str, look: str
) -> None:
    async with (
        Runs(url, orphan_after=LONG_S, takeover_within=60) as runs,
        Runs(url, orphan_after=3, takeover_within=60) as other,
    ):
        await begun(runs, "a")
        await die("a")
        # By the producer's own heartbeats; it would be 10 s.
        await runs._place("a").stop.append(b'[{"orphan_after":3}]', content_type="application/json")
        await leave_wish(other, "a")
        looking = asyncio.create_task(asyncio.wait_for(_looked(LOOKS[look], other), 3 * SLOW_S))
        assert await looking in (STOPPED, True, Closed, None)
        metadata = await runs._place("a").items.head()
        assert metadata.is_closed
        assert await other.state("a") == STOPPED


async def _read_along(runs: Runs) -> None:
    assert b'"status":"stopped"' in await read(await runs.follow("a"))


async def _looked(look: Callable[[Runs], Awaitable[object]], runs: Runs) -> object:
    try:
        return await look(runs)
    except Closed:
        return Closed


async def test_an_acknowledged_stop_lets_the_source_have_its_grace_and_nobody_ends_it_before(
    url: str,
) -> None:
    time = asyncio.get_running_loop().time
    is_over = asyncio.Event()
    async with Runs(url, orphan_after=1, stop_grace=30) as runs, Runs(url, orphan_after=1) as other:

        async def source() -> AsyncIterator[str]:
            yield "Once "
            await runs.stopped("a").wait()
            await is_over.wait()
            yield "(stopped)"

        answer = await runs.start("a", source())
        await read_to(answer, b"Once ")
        until_s = time() + 2.5  # longer than a heartbeat, and than the lease
        while time() < until_s:
            assert await other.stop("a") is True
            assert await other.state("a") == ACTIVE
            await asyncio.sleep(0.1)
        with pytest.raises(Closed, match="run 'a' is stopped"):
            await other.start("a", of("never"))
        is_over.set()
        assert await read(answer) == b"(stopped)"
        assert await other.state("a") == STOPPED


async def test_a_producer_that_dies_in_its_grace_leaves_a_stopped_run(url: str) -> None:
    async with Runs(url, orphan_after=6, stop_grace=1) as runs, Runs(url, orphan_after=6) as other:

        async def source() -> AsyncIterator[str]:
            yield "Once "
            await runs.stopped("a").wait()
            await asyncio.Event().wait()

        await read_to(await runs.start("a", source()), b"Once ")
        assert await other.stop("a") is True
        await die("a")
        async with asyncio.timeout(2 * beat_s(6) + 1 + SLOW_S):
            while await other.state("a") == ACTIVE:
                await asyncio.sleep(0.1)
        assert await other.state("a") == STOPPED


async def test_readers_and_looks_end_runs_without_producers_after_a_heartbeat_and_a_second(
    url: str,
) -> None:
    """Look at once, and again after that time, not after `orphan_after`; many wait together."""
    ids = [f"run-{number}" for number in range(8)]
    async with Runs(url, orphan_after=6) as runs, Runs(url, orphan_after=6) as other:
        for run_id in ids:
            await begun(runs, run_id)
            await die(run_id)
            await runs._place(run_id).lease.delete()  # as it is once it has expired
        time = asyncio.get_running_loop().time
        began = time()
        reader = asyncio.create_task(read(await other.follow(ids[0])))
        assert set(await asyncio.gather(*map(other.state, ids[1:]))) == {ORPHANED}
        assert b'"status":"orphaned"' in await reader
        assert beat_s(6) + SPARE_S <= time() - began < beat_s(6) + SPARE_S + 2 * SLOW_S


async def test_a_producer_that_leaves_its_run_is_not_waited_for(url: str) -> None:
    async with Runs(url, orphan_after=LONG_S, takeover_within=60) as other:
        async with Runs(url, orphan_after=LONG_S, takeover_within=60) as runs:
            await begun(runs, "a")
            await runs.aclose(wait=0)
        async with asyncio.timeout(SLOW_S):
            assert await other.take_over("a", lambda _: of("upon"), format="sse") is not None
        assert await other.state("a") == RunState("finished")


@pytest.mark.parametrize("is_left", [True, False], ids=["left", "silent"])
async def test_a_server_too_slow_to_tell_whether_a_producer_is_gone_is_unavailable(
    server: Headgate, is_left: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orphans, "SLOW_S", 0.5)
    monkeypatch.setattr(orphans, "LOOK_AGAIN_S", 0.05)

    async def decide(_: web.Request) -> Fate:
        await asyncio.sleep(0.06)
        return Fate.PASSED

    path = f"/v1/stream/{uuid.uuid4().hex}"
    async with (
        RequestProxy(server.port, decide) as proxy,
        Runs(server.url + path, orphan_after=1, takeover_within=60 if is_left else 0) as runs,
        Runs(proxy.url + path, orphan_after=1) as other,
    ):
        await begun(runs, "a")
        if is_left:
            await runs.aclose(wait=0)
        else:
            await die("a")
        place = other._place("a")
        for beside in (place.lease, place.wait):  # they expire
            with suppress(*ABSENT):
                await beside.delete()
        for look in ("state", "follow"):
            with pytest.raises(Unavailable, match="too slowly"):
                await asyncio.wait_for(LOOKS[look](other), 10 * SLOW_S)
        assert await asyncio.wait_for(other.stop("a"), 10 * SLOW_S) is True
