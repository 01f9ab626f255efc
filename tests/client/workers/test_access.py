"""Workers on routes with access control."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
import pytest

from headgate import NotAuthorized, Worker
from tests.client.test_authorization import ALL, Tokens, bearer
from tests.client.workers.pools import Pool, messages_of
from tests.support.processes import headgate

if TYPE_CHECKING:
    from pathlib import Path

    from headgate import Job


@pytest.mark.usefixtures("processes")
async def test_a_worker_needs_the_rights_of_the_subscriber_and_may_have_another_credential(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tokens.toml"
    permitted = {"subscriber": ALL, "worker": ALL, "reader": '["read"]'}
    Tokens(file).accept(**permitted)
    environment = {"HEADGATE_AUTH": "tokens", "HEADGATE_CREDENTIALS__TOKENS_FILE": str(file)}
    headers = {"Authorization": bearer("subscriber")}

    async def authorization() -> str:
        await asyncio.sleep(0)
        return bearer("worker")

    async def handle(job: Job) -> None:
        assert await messages_of(job) == [1]
        worker.stop()

    with headgate(environment=environment) as server:
        async with aiohttp.ClientSession(headers=headers) as session:
            work = Pool(server.streams, session, "pool")
            await work.subscribe()
            end = await work.append("a", 1)
            for name in ("reader", "nobody"):
                with pytest.raises(NotAuthorized):
                    await Worker(server.streams, "pool", authorization=bearer(name)).run(handle)
            worker = Worker(server.streams, "pool", authorization=authorization)
            await worker.run(handle)
            assert await work.cursor("a") == end
