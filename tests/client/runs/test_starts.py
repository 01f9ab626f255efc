"""Starts and takeovers that are cancelled, or fail, at each of their requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, Awaitable, Callable
from typing import Any, TypeAlias

import aiohttp
import pytest
from yarl import URL

from headgate.errors import Unavailable
from headgate.runs import Runs, RunState, Step
from headgate.runs.stored.orphans import WAITING
from tests.client.request_proxy import Fate, RequestProxy
from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import WITHIN_S, Feed, left, of, read, read_to

# The requests of a start: where it is the first, and where it takes a run over.
FIRST, TAKEOVER = 3, 6
LEFT = 6  # requests of a takeover of a run that was left, until its source is asked

Moment: TypeAlias = tuple[str, int]


def moments(requests: int) -> list[Moment]:
    return [(at, number) for number in range(1, requests + 1) for at in ("start", "end")]


Act: TypeAlias = Callable[[Runs], Awaitable[object]]


def start(source: AsyncIterable[object]) -> Act:
    return lambda runs: runs.start("a", source)


async def cancelled(url: str, moment: Moment, act: Act, takeover_within: int = 0) -> None:
    """Act as a replica of its own, and be cancelled at one of the requests for that."""
    at, number = moment
    count = 0

    async def seen(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            acting.cancel()

    trace = aiohttp.TraceConfig()
    getattr(trace, f"on_request_{at}").append(seen)
    settings: Any = {"orphan_after": ORPHAN_AFTER_S, "takeover_within": takeover_within}
    async with (
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        Runs(url, session=session, **settings) as runs,
    ):
        acting = asyncio.ensure_future(act(runs))
        with pytest.raises(asyncio.CancelledError):
            await acting


@pytest.mark.parametrize("moment", moments(FIRST))
async def test_a_start_cancelled_at_any_request_leaves_no_run(
    runs: Runs, url: str, moment: Moment
) -> None:
    await cancelled(url, moment, start(of("Once")))
    assert await runs.state("a") is None
    assert await runs.stop("a") is False
    assert await read(await runs.start("a", of("again"))) == b"again"


@pytest.mark.parametrize("fate", [Fate.REFUSED, Fate.LOST_AFTER])
@pytest.mark.parametrize("faults", [1, 8])
@pytest.mark.parametrize("number", range(1, FIRST + 1))
async def test_a_start_whose_requests_fail_repeats_them_or_leaves_no_run(
    runs: Runs, url: str, number: int, faults: int, fate: Fate
) -> None:
    count = 0

    async def decide(_: object) -> Fate:
        nonlocal count
        count += 1
        return fate if number <= count < number + faults else Fate.PASSED

    server = URL(url)
    assert server.port is not None
    async with (
        RequestProxy(server.port, decide) as proxy,
        Runs(f"{proxy.url}{server.path}") as behind,
    ):
        start = behind.start("a", of("Once"), format="ai-sdk")
        if faults > 1:
            with pytest.raises(Unavailable):
                await start
            assert await runs.state("a") is None
        else:
            assert (await read(await start)).count(b'"type":"start"') == 1


@pytest.mark.parametrize("moment", moments(TAKEOVER))
async def test_a_start_over_an_active_run_cancelled_at_any_request_leaves_a_producer_or_an_end(
    runs: Runs, url: str, moment: Moment
) -> None:
    older = Feed("Once ")
    answer = await runs.start("a", older.source())
    await read_to(answer, b"Once ")
    await cancelled(url, moment, start(of("again")))
    state = await runs.state("a")
    assert state is not None
    if state.status == "failed":
        assert state.error == "it was taken over, and the start of its new producer failed"
        await older.closed.wait()
        assert await runs.stop("a") is False
    else:
        older.give("upon")
        older.end()
        assert await read(answer) == b"upon"
        assert await runs.state("a") == RunState("finished")


async def test_a_source_is_closed_when_its_start_is_cancelled(url: str) -> None:
    feed = Feed("Once ")
    source = feed.source()
    await anext(source)
    await cancelled(url, ("end", 2), start(source))
    assert feed.closed.is_set()


@pytest.mark.parametrize("number", range(1, LEFT + 1))
async def test_a_takeover_cancelled_at_any_request_leaves_the_run_to_the_next_one(
    url: str, number: int
) -> None:
    await left(url, "a", "Once ", Step("1"))
    await cancelled(
        url,
        ("end", number),
        lambda runs: runs.take_over("a", lambda _: Feed().source()),
        takeover_within=WITHIN_S,
    )
    async with Runs(url, takeover_within=WITHIN_S) as runs:
        assert await runs.state("a") == WAITING
        finished = await runs.take_over("a", lambda written: of(str(written.last_step)))
        assert finished == RunState("finished")
        assert await read(await runs.follow("a")) == b"Once 1"
