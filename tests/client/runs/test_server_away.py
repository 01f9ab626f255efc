"""Runs whose Headgate is away in the middle."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from headgate.runs import Runs, RunState

from tests.client.runs.sources import Feed, is_produced, of, read, read_to
from tests.support.processes import headgate
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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


@pytest.mark.usefixtures("processes")
async def test_nobody_ends_or_takes_a_run_whose_lease_expired_while_the_server_was_away(
    url: str, server: Headgate
) -> None:
    async with (
        Runs(url, orphan_after=3, retry_for=60) as runs,
        Runs(url, orphan_after=3, takeover_within=60) as other,
    ):
        feed = Feed("Once ")
        await read_to(await runs.start("a", feed.source()), b"Once ")
        reader = await other.follow("a")
        assert await read_to(reader, b"Once ") == b"Once "
        server.kill()
        await asyncio.sleep(4)  # the lease expires meanwhile
        server.start()
        state, answer, taken = await asyncio.gather(
            other.state("a"),
            other.follow("a", only_active=True),
            other.take_over("a", lambda _: of("never")),
        )
        assert state == RunState("active")
        assert answer is not None
        assert taken is None
        feed.give("upon")
        feed.end()
        assert await read(reader) == b"upon"
        assert await other.state("a") == RunState("finished")
