"""Runs are kept while their sources are silent for longer than `ttl`, and their servers away."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest

from headgate.runs import Runs, RunState
from tests.client.runs.conftest import streams_of
from tests.client.runs.sources import Feed, is_produced, of, read, read_to
from tests.support.origin_servers import Reference, reference
from tests.support.processes import Headgate, headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TTL_S = 2  # of shorter ones a busy machine misses each third
SILENT_S = 2 * TTL_S


KEPT_IN_A_FILE = pytest.param("file", marks=pytest.mark.smoke)


@pytest.fixture(params=["memory", KEPT_IN_A_FILE, "redis", "reference", "gateway"])
def kept(
    processes: None, request: pytest.FixtureRequest, tmp_path: Path
) -> Iterator[Headgate | Reference]:
    with contextlib.ExitStack() as servers:
        if request.param == "reference":
            yield servers.enter_context(reference())
            return
        log = {"memory": "memory:", "file": f"file:{tmp_path}"}.get(request.param)
        if request.param == "redis":
            log = f"redis://127.0.0.1:{servers.enter_context(redis_server(tmp_path)).port}"
        yield servers.enter_context(headgate(log or servers.enter_context(reference()).url))


@pytest.fixture
def server(processes: None, tmp_path: Path) -> Iterator[Headgate]:
    with headgate(f"file:{tmp_path}") as started:
        yield started


async def test_a_silent_run_outlives_its_ttl_while_it_is_produced(
    kept: Headgate | Reference,
) -> None:
    url = f"{streams_of(kept)}/{uuid.uuid4().hex}"
    async with Runs(url, orphan_after=TTL_S, ttl=TTL_S) as runs:
        feed = Feed("Once ")
        await runs.start("a", feed.source())
        await asyncio.sleep(SILENT_S)  # the promise is what does not happen meanwhile
        if isinstance(server, Reference):  # one read keeps the stream for a third of the time
            assert 1 <= server.counts().catch_up <= 3 * SILENT_S / TTL_S
        assert await runs.state("a") == RunState("active")
        feed.give("upon")
        feed.end()
        assert await read(await runs.follow("a")) == b"Once upon"


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
