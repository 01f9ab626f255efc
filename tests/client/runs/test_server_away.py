"""Runs whose Headgate is away in the middle."""

from __future__ import annotations

import asyncio
import gc
from contextlib import aclosing
from typing import TYPE_CHECKING

import pytest
from headgate.runs import Runs, RunState
from headgate.runs.stored.reading import begun

from tests.client.runs.sources import Feed, is_produced, read, read_to
from tests.support.processes import headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from headgate.runs.stored.reading import Reading

    from tests.support.processes import Headgate


@pytest.fixture(scope="module")
def server(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Headgate]:
    folder: Path = tmp_path_factory.mktemp("log")
    with headgate(f"file:{folder}") as started:
        yield started


@pytest.mark.usefixtures("processes")
@pytest.mark.smoke
async def test_a_run_goes_on_once_its_server_is_back(runs: Runs, server: Headgate) -> None:
    feed = Feed("0 ")
    answer = await runs.start("a", feed.source())
    body = await read_to(answer, b"0 ")
    server.kill()
    feed.give(*(f"{number} " for number in range(1, 100)))
    feed.end()
    server.start()
    body += await read(answer)
    assert body.decode().split() == [str(number) for number in range(100)]
    assert await read(await runs.follow("a")) == body
    assert await runs.state("a") == RunState("finished")


@pytest.mark.usefixtures("processes")
async def test_a_run_ends_when_its_server_is_away_for_too_long(url: str, server: Headgate) -> None:
    feed = Feed("Once ")
    async with Runs(url, orphan_after=1, retry_for=0.2) as runs:
        answer = await runs.start("a", feed.source(), format="sse")
        begun = await read_to(answer, b'"Once "\n\n')
        server.kill()
        feed.give("upon")
        # The source is closed and the run is over here, though nobody can be told yet.
        await feed.closed.wait()
        await until(lambda: not is_produced(runs, "a"))
        server.start()
        assert begun + await read(answer) == (
            b'id: 1\ndata: "Once "\n\n'
            b'id: 2\nevent: end\ndata: {"status":"orphaned","error":"its producer is gone"}\n\n'
        )


async def test_looks_of_a_closed_session_leave_no_exception_that_nobody_retrieves(
    url: str,
) -> None:
    unretrieved: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, it: unretrieved.append(it))
    looks = 0

    async def look() -> None:
        nonlocal looks
        looks += 1
        raise RuntimeError("Session is closed")  # as aiohttp does

    async with Runs(url) as runs:
        answer = await runs.start("a", Feed("Once").source())
        await read_to(answer, b"Once")
        reading = asyncio.create_task(read_all(await begun(runs._place("a"), 0), look))
        await until(lambda: looks > 1)
        reading.cancel()
        await asyncio.wait({reading})
    gc.collect()
    assert unretrieved == []


async def read_all(reading: Reading, look: Callable[[], Awaitable[None]]) -> None:
    async with aclosing(reading.body(look, quiet_s=0.01)) as body:
        async for _ in body:
            pass
