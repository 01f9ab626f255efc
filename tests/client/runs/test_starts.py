"""Starts of runs that are cancelled, at each of their requests: as it is sent, and answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeAlias

import aiohttp
import pytest
from headgate.runs import Runs, RunState

from tests.client.runs.conftest import ORPHAN_AFTER_S
from tests.client.runs.sources import Feed, of, read, read_to

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

# The requests of a start: where it is the first, and where it takes a run over.
FIRST, TAKEOVER = 3, 6

Moment: TypeAlias = tuple[str, int]


def moments(requests: int) -> list[Moment]:
    return [(at, number) for number in range(1, requests + 1) for at in ("start", "end")]


async def start_cancelled(url: str, moment: Moment, source: AsyncIterable[object]) -> None:
    """Start a run on a replica of its own, and cancel that at one of its requests."""
    at, number = moment
    count = 0

    async def seen(*_: object) -> None:
        nonlocal count
        count += 1
        if count == number:
            starting.cancel()

    trace = aiohttp.TraceConfig()
    getattr(trace, f"on_request_{at}").append(seen)
    async with (
        aiohttp.ClientSession(trace_configs=[trace]) as session,
        Runs(url, session=session, orphan_after=ORPHAN_AFTER_S) as runs,
    ):
        starting = asyncio.create_task(runs.start("a", source))
        with pytest.raises(asyncio.CancelledError):
            await starting


@pytest.mark.parametrize("moment", moments(FIRST))
async def test_a_start_cancelled_at_any_request_leaves_no_run(
    runs: Runs, url: str, moment: Moment
) -> None:
    await start_cancelled(url, moment, of("Once"))
    assert await runs.state("a") is None
    assert await runs.stop("a") is False
    assert await read(await runs.start("a", of("again"))) == b"again"


@pytest.mark.parametrize("moment", moments(TAKEOVER))
async def test_a_start_over_an_active_run_cancelled_at_any_request_leaves_a_producer_or_an_end(
    runs: Runs, url: str, moment: Moment
) -> None:
    older = Feed("Once ")
    answer = await runs.start("a", older.source())
    await read_to(answer, b"Once ")
    await start_cancelled(url, moment, of("again"))
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
    await start_cancelled(url, ("end", 2), source)
    assert feed.closed.is_set()
