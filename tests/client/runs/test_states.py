"""The states of many runs at once, as a list of chats shows them."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, Any

import pytest
from headgate.at_once import MOST_AT_ONCE
from headgate.errors import Unavailable
from headgate.runs import Runs, RunState

from tests.client.request_proxy import Fate, RequestProxy
from tests.client.runs.sources import Feed, of, read
from tests.support.ports import free_port
from tests.support.waiting import at_rest, until

if TYPE_CHECKING:
    from aiohttp import web

    from tests.support.threaded import Threaded


async def test_the_states_of_runs_come_in_the_order_of_their_ids(runs: Runs) -> None:
    await runs.start("active", Feed("Once").source())
    await read(await runs.start("finished", of("Once")))
    asked = ["none", "finished", "active", "finished"]
    states = await runs.states(asked)
    assert list(states.items()) == [
        ("none", None),
        ("finished", RunState("finished")),
        ("active", RunState("active")),
    ]
    assert await runs.states([]) == {}


async def test_concurrent_state_requests_are_limited(server: Threaded) -> None:
    waiting, gate = 0, asyncio.Event()

    async def decide(_: web.Request) -> Fate:
        nonlocal waiting
        waiting += 1
        await gate.wait()
        return Fate.PASSED

    async with (
        RequestProxy(server.port, decide) as proxy,
        Runs(f"{proxy.url}/v1/stream/{uuid.uuid4().hex}") as runs,
    ):
        ids = [str(number) for number in range(2 * MOST_AT_ONCE + 1)]
        asking = asyncio.create_task(runs.states(ids))
        await until(lambda: waiting == MOST_AT_ONCE)
        assert await at_rest(lambda: waiting) == MOST_AT_ONCE
        gate.set()
        assert await asking == dict.fromkeys(ids)


async def test_requesting_several_states_raises_unavailable_without_a_server() -> None:
    async with Runs(f"http://127.0.0.1:{free_port()}/runs") as runs:
        with pytest.raises(Unavailable):
            await runs.states(["a", "b"])


@pytest.mark.parametrize(
    ("ids", "error"), [("abc", TypeError), (["a", 1], TypeError), ([""], ValueError)]
)
async def test_requesting_states_of_invalid_run_ids_raises(
    runs: Runs, ids: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match="id"):
        await runs.states(ids)
