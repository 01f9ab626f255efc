"""A run whose source is silent for longer than `ttl` is kept for as long as it is produced."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from typing import TYPE_CHECKING

import pytest
from headgate.runs import Runs, RunState

from tests.client.runs.conftest import streams_of
from tests.client.runs.sources import Feed, read
from tests.support.origin_servers import Reference, reference
from tests.support.processes import Headgate, headgate
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TTL_S = 2  # of shorter ones a busy machine misses each third
SILENT_S = 2 * TTL_S


KEPT_IN_A_FILE = pytest.param("file", marks=pytest.mark.smoke)


@pytest.fixture(params=["memory", KEPT_IN_A_FILE, "redis", "reference", "gateway"])
def server(
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


async def test_a_silent_run_outlives_its_ttl_while_it_is_produced(
    server: Headgate | Reference,
) -> None:
    async with Runs(
        f"{streams_of(server)}/{uuid.uuid4().hex}", orphan_after=TTL_S, ttl=TTL_S
    ) as runs:
        feed = Feed("Once ")
        await runs.start("a", feed.source())
        await asyncio.sleep(SILENT_S)  # the promise is what does not happen meanwhile
        assert await runs.state("a") == RunState("active")
        feed.give("upon")
        feed.end()
        assert await read(await runs.follow("a")) == b"Once upon"
