"""Changes that concern many subscriptions, or whose names take long to match, in turns."""

from __future__ import annotations

import asyncio

import pytest

from gateway.subscriptions import late_changes, membership
from tests.subscriptions.receivers import Subscribed, ends_of, subscribed
from tests.support.waiting import until

MOST = 3


@pytest.fixture(params=["many", "long"])
def late(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """Take changes late: of streams of so many subscriptions, or of names that match late."""
    monkeypatch.setattr(membership, "MOST_AT_ONCE", MOST)
    if request.param == "long":
        monkeypatch.setattr(membership, "QUICK_STEPS", -1)
    return MOST + 1


async def subscribe(gateway: Subscribed, number: int) -> list[str]:
    """Make subscriptions that match one stream."""
    names = [f"s{at}" for at in range(number)]
    for name in names:
        await gateway.pull(name, pattern="e/*")
    return names


async def settled(gateway: Subscribed) -> None:
    """Wait until no stream waits."""
    await until(lambda: not len(gateway.engine.membership.late))


async def test_a_stream_of_many_subscriptions_wakes_all_of_them(late: int) -> None:
    async with subscribed() as gateway:
        names = await subscribe(gateway, late)
        await gateway.create("e/1", body=b'{"n":1}')
        await gateway.append("e/1", b'{"n":2}')
        await settled(gateway)
        for name in names:
            status, claimed = await gateway.claim(name=name)
            assert (status, claimed["streams"][0]["path"]) == (200, "e/1")
            await gateway.ack(claimed, *ends_of(claimed), name=name)
        await gateway.append("e/1", b'{"n":3}')
        await settled(gateway)
        for name in names:
            assert (await gateway.claim(name=name))[0] == 200


async def test_a_stream_that_is_deleted_or_replaced_meanwhile_is_taken_as_it_is_then(
    late: int,
) -> None:
    async with subscribed() as gateway:
        names = await subscribe(gateway, late)
        await gateway.create("e/1", body=b'{"n":1}')
        await gateway.delete("e/1")
        await settled(gateway)
        assert "e/1" not in gateway.engine.membership.streams
        assert (await gateway.claim(name=names[0]))[0] != 200
        await gateway.create("e/1", body=b'{"n":1}')
        await gateway.delete("e/1")
        await gateway.create("e/1", body=b'{"n":12345}')
        await settled(gateway)
        for name in names:
            _, claimed = await gateway.claim(name=name)
            assert claimed["streams"][0]["tail_offset"] == (
                gateway.engine.membership.streams["e/1"].links[0].stream.state.offset(11)  # type: ignore[union-attr]
            )


async def test_a_subscription_that_is_deleted_meanwhile_gets_no_links(late: int) -> None:
    async with subscribed() as gateway:
        await subscribe(gateway, late)
        await gateway.create("e/1", body=b'{"n":1}')
        for name in (f"s{at}" for at in range(late)):
            await gateway.ask("DELETE", name)
        await settled(gateway)
        assert gateway.engine.membership.streams == {}


async def test_beyond_the_most_waiting_streams_a_change_is_taken_at_once(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late_changes, "MOST_WAITING", 1)
    async with subscribed() as gateway:
        await subscribe(gateway, late)
        await asyncio.gather(*(gateway.create(f"e/{at}", body=b'{"n":1}') for at in range(5)))
        await settled(gateway)
        links = gateway.engine.membership.streams
        assert [len(links[f"e/{at}"].links) for at in range(5)] == [late] * 5
