"""Workers on routes with access control."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest
from headgate import NotAuthorized, Worker

from tests.client.test_authorization import ALL, bearer, entry
from tests.client.workers.pools import Pool, messages_of
from tests.support.processes import headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from headgate import Job

    from tests.support.processes import Headgate


@pytest.fixture
def guarded(processes: None, tmp_path: Path) -> Iterator[Headgate]:
    file = tmp_path / "tokens.toml"
    permitted = {"worker": ALL, "other": ALL, "reader": '["read"]'}
    file.write_text("".join(entry(name, them) for name, them in permitted.items()))
    environment = {"HEADGATE_AUTH": "tokens", "HEADGATE_CREDENTIALS__TOKENS_FILE": str(file)}
    with headgate(environment=environment) as started:
        yield started


@pytest.mark.parametrize("name", ["worker", "other"])
async def test_a_worker_with_the_rights_of_the_subscriber_gets_jobs(
    name: str, guarded: Headgate
) -> None:
    headers = {"Authorization": bearer("worker")}
    async with aiohttp.ClientSession(headers=headers) as session:
        work = Pool(guarded.streams, session, "pool")
        await work.subscribe()
        end = (await work.append("a", 1)).next_offset
        asked: list[str] = []

        async def authorization() -> str:
            await asyncio.sleep(0)
            asked.append("asked")
            return bearer(name)

        worker = Worker(guarded.streams, "pool", authorization=authorization)

        async def handle(job: Job) -> None:
            assert await messages_of(job) == [1]
            worker.stop()

        await worker.run(handle)
        assert await work.cursor("a") == end
        assert asked


@pytest.mark.parametrize("name", ["reader", "nobody"])
async def test_a_worker_without_these_rights_raises_not_authorized(
    name: str, guarded: Headgate
) -> None:
    headers = {"Authorization": bearer("worker")}
    async with aiohttp.ClientSession(headers=headers) as session:
        await Pool(guarded.streams, session, "pool").subscribe()
    with pytest.raises(NotAuthorized):
        await Worker(guarded.streams, "pool", authorization=bearer(name)).run(messages_of)
