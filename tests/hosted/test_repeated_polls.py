"""A long-poll with the bytes of one that has waited is answered by what the stream is by then."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.serving import get, offset, post, put, request, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.http1 import Client
    from tests.support.serving import Serving

POLL = get(f"s?offset={offset(1)}&live=long-poll")
APPEND, CLOSE = post("s", b"b"), request("POST", "s", "Stream-Closed: true")
DELETE, CREATE = request("DELETE", "s"), put("s", body=b"c")


async def parked(gateway: Serving) -> Client:
    client = await gateway.connect()
    before = gateway.limits.live_readers
    client.send(POLL)
    await until(lambda: gateway.limits.live_readers == before + 1)
    return client


@pytest.mark.parametrize(
    ("changes", "later", "status", "body"),
    [
        ([APPEND], [], 200, b"b"),
        ([CLOSE], [], 204, b""),
        ([DELETE], [], 404, None),
        ([DELETE, CREATE], [], 410, None),
        ([], [APPEND], 200, b"b"),
        ([], [CLOSE], 204, b""),
        ([], [DELETE], 404, None),
    ],
    ids=[
        *("after an append", "closed", "deleted", "another stream"),
        *("after its readers left", "left, closed", "left, deleted"),
    ],
)
@pytest.mark.parametrize("is_watched", [False, True], ids=["", "by another reader"])
async def test_an_equal_poll_is_answered_by_the_state_of_its_stream(
    is_watched: bool,
    changes: Sequence[bytes],
    later: Sequence[bytes],
    status: int,
    body: bytes | None,
) -> None:
    async with serving_with(put("s", body=b"a")) as gateway:
        watcher = await gateway.connect()
        if is_watched:
            watcher.send(get(f"s?offset={offset(1)}&live=sse"))
            await until(lambda: gateway.limits.live_readers == 1)
        clients = [await parked(gateway) for _ in range(3)]
        for change in changes:
            await gateway.ask(change)
        if not changes:
            for client in clients:
                client.close()
        await until(lambda: gateway.limits.live_readers <= is_watched)
        await until(lambda: gateway.route.feeds.count <= is_watched)
        waiting = gateway.limits.live_readers
        client = await gateway.connect()
        client.send(POLL)
        if later:
            await until(lambda: gateway.limits.live_readers == waiting + 1)
        for change in later:
            await gateway.ask(change)
        answer = await client.answer()
        assert (answer.status, answer.body if body is not None else None) == (status, body)


async def test_an_equal_poll_beyond_the_limit_of_readers_is_refused_and_counted_once() -> None:
    async with serving_with(put("s", body=b"a"), max_live_readers=3) as gateway:
        clients = [await parked(gateway) for _ in range(3)]
        assert (await gateway.ask(POLL)).status == 503
        assert gateway.limits.refused["max_live_readers"] == 1
        clients.pop().close()
        await until(lambda: gateway.limits.live_readers == 2)
        clients.append(await parked(gateway))
        await gateway.ask(APPEND)
        assert {(await client.answer()).body for client in clients} == {b"b"}
