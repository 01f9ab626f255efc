"""Who is refused together does not come back together: `Retry-After` differs among them."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from headgate_gateway.errors import LogUnavailable
from tests.edge.live_readers import live, polling
from tests.support.raw_origin import answer
from tests.support.serving import get, offset, post, put, serving, serving_with
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.live.feed import Feed
    from headgate_gateway.protocol.streams.state import Record, StreamState
    from tests.support.http1 import Answer, Client
    from tests.support.serving import Serving

HERD = 7
IN_TURN = {"1": 3, "2": 2, "3": 2}  # so that each moment sees its part of them


def assert_in_turn(answers: list[Answer]) -> None:
    """Check that each part of them is to come back at a moment of its own."""
    assert {answer.status for answer in answers} == {503}
    assert Counter(answer.get("Retry-After") for answer in answers) == IN_TURN


async def herd(gateway: Serving) -> list[Client]:
    """Long-polls that wait at the tail of one own stream."""
    clients = [await gateway.connect() for _ in range(HERD)]
    before = gateway.limits.live_readers
    for client in clients:
        client.send(get(f"s?offset={offset(3)}&live=long-poll"))
    await until(lambda: gateway.limits.live_readers == before + HERD)
    return clients


def feed_of(gateway: Serving) -> Feed[StreamState, Record]:
    active = gateway.route.table.peek("s")
    assert active is not None
    [feed] = active.feeds
    return feed


async def test_connections_beyond_the_limit_are_told_to_retry_in_turn() -> None:
    async with serving(max_connections=1) as gateway:
        await (await gateway.connect()).ask(put("s"))
        clients = [await gateway.connect() for _ in range(HERD)]
        assert_in_turn([await client.answer() for client in clients])


async def test_live_readers_beyond_the_limit_are_told_to_retry_in_turn() -> None:
    async with serving_with(put("s", body=b"one"), max_live_readers=0) as gateway:
        assert_in_turn([await gateway.ask(get("s?offset=now&live=sse")) for _ in range(HERD)])


async def test_appends_beyond_the_limit_are_told_to_retry_in_turn() -> None:
    async with serving_with(put("s"), max_pending_appends=1) as gateway:
        assert_in_turn([await gateway.ask(post("s", b"12")) for _ in range(HERD)])


async def test_polls_ended_by_a_failing_origin_are_told_to_retry_in_turn() -> None:
    async with live(b"a") as (origin, gateway):
        clients = [await polling(gateway, "0001") for _ in range(HERD)]
        await origin.polled(1)
        origin.answer_all(answer(status="500 Oops"))
        assert_in_turn([await client.answer() for client in clients])


async def test_polls_ended_by_a_failing_log_are_told_to_retry_in_turn() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        clients = await herd(gateway)
        feed_of(gateway).suspend(LogUnavailable("why"))
        assert_in_turn([await client.answer() for client in clients])


async def test_long_polls_that_end_while_the_log_fails_get_different_retry_after_values() -> None:
    async with serving_with(put("s", body=b"one")) as gateway:
        reader = await gateway.connect()
        reader.send(get("s?offset=now&live=sse"))
        await reader.answer()
        feed_of(gateway).suspend(LogUnavailable("why"))
        clients = await herd(gateway)
        feed_of(gateway).drain()  # every poll's time is over
        assert_in_turn([await client.answer() for client in clients])
