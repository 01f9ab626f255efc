"""Changes that concern many subscriptions, or whose names take long to match, in turns."""

from __future__ import annotations

import asyncio
import copy
from typing import TYPE_CHECKING

import pytest

from gateway.background import at_once
from gateway.features.subscriptions import late_changes, membership
from gateway.features.subscriptions.state.patterns import PatternIndex
from gateway.protocol.streams.state import Change
from tests.subscriptions.receivers import Subscribed, ends_of, subscribed, subscription_of
from tests.subscriptions.test_limits import limit
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from gateway.features.subscriptions.state.subscription import DurableSubscription
    from gateway.features.subscriptions.streams import StreamView

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
        # Only who holds the lock sees that both come before the first turn.
        async with gateway.engine.streams.turns._lock:
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


async def test_a_stream_that_always_changes_lets_others_have_their_turns(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with subscribed() as gateway:
        await subscribe(gateway, late)
        found = gateway.engine.membership
        consider = found._consider  # which a change in the middle of a turn has to interrupt

        def consider_and_append(subscription: DurableSubscription) -> None:
            consider(subscription)
            if (busy := found.streams.get("e/busy")) is not None and busy.state is not None:
                busy.note_state(copy.copy(busy.state))

        with monkeypatch.context() as patched:
            patched.setattr(found, "_consider", consider_and_append)
            async with gateway.engine.streams.turns._lock:  # so that both wait for one turn
                await gateway.create("e/busy")  # with nothing pending, so each append counts
                await gateway.create("e/1", body=b'{"n":1}')
            async with asyncio.timeout(5):
                await found.late.settle()
            assert len(found.streams["e/1"].links) == late
            assert "e/busy" in found.late
        await settled(gateway)
        assert (await gateway.claim(name="s0"))[0] == 200


async def test_a_pending_stream_that_grows_is_matched_again_once_there_is_room(late: int) -> None:
    async with subscribed() as gateway:
        limit(gateway, max_streams=1)
        await gateway.pull("linked", pattern="e/1")
        await gateway.pull("full", pattern="e/*")
        for name in ("e/0", "e/1"):
            await gateway.create(name, body=b'{"n":1}')
            await settled(gateway)
        stream = gateway.engine.membership.streams["e/1"]
        assert (len(stream.links), stream.is_pending_for_all) == (1, True)
        await gateway.delete("e/0")
        await gateway.append("e/1")
        await settled(gateway)
        assert len(stream.links) == 2


async def test_a_stream_for_which_there_is_room_during_its_turns_is_matched_again(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with subscribed() as gateway:
        limit(gateway, max_streams=1)
        await gateway.pull("full", pattern="e/*")
        await gateway.create("e/0")
        await settled(gateway)
        names = [f"linked{at}" for at in range(late)]
        for name in names:
            await gateway.pull(name, pattern="e/1")
        found = gateway.engine.membership
        # A change in the middle of a turn has to interrupt it.
        consider, considered = found._consider, []

        def consider_and_append(subscription: DurableSubscription) -> None:
            consider(subscription)
            considered.append(subscription)
            state = found.streams["e/1"].state
            if len(considered) == late and state is not None:
                found.drop(gateway.engine.by_id["full"].links["e/0"])
                found.on_change(Change(state, state.version))  # type: ignore[arg-type] # hosted

        monkeypatch.setattr(found, "_consider", consider_and_append)
        await gateway.create("e/1", body=b'{"n":1}')
        await settled(gateway)
        assert len(found.streams["e/1"].links) == late + 1


async def test_a_subscription_that_is_created_meanwhile_begins_before_the_change(
    late: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with subscribed() as gateway:
        await gateway.pull("other", pattern="f/*")
        tail = (await gateway.create("e/1", body=b'{"n":1}')).next_offset
        await settled(gateway)
        states = gateway.engine.streams.states

        async def append_before(beginning: str) -> AsyncIterator[StreamView]:
            await gateway.append("e/1")
            await settled(gateway)
            async for state in states(beginning):
                yield state

        with monkeypatch.context() as patched:
            patched.setattr(gateway.engine.streams, "states", append_before)
            await gateway.pull("s", pattern="e/*")
        assert await gateway.cursors("s") == {"e/1": tail}
        assert (await gateway.claim())[0] == 200


async def test_a_name_is_not_noted_as_unmatched_if_a_pattern_comes_during_its_match(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(membership, "QUICK_STEPS", -1)
    async with subscribed() as gateway:
        await gateway.pull("s", pattern="e/*")
        steps_of = PatternIndex.match_steps

        def add_meanwhile(index: PatternIndex[object], name: str) -> Generator[None, None, object]:
            matching = yield from steps_of(index, name)
            gateway.engine.add(subscription_of("new", "f/*"))
            return matching

        with monkeypatch.context() as patched:
            patched.setattr(PatternIndex, "match_steps", add_meanwhile)
            await gateway.create("f/1", body=b'{"n":1}')
            await settled(gateway)
        await gateway.append("f/1")
        await settled(gateway)
        assert "f/1" in gateway.engine.by_id["new"].links


async def test_a_stream_that_is_replaced_while_a_subscription_is_deleted_keeps_its_new_links() -> (
    None
):
    async with subscribed() as gateway:
        await gateway.pull("other", pattern="f/*")
        await gateway.pull("deleted", pattern="e/*")
        for name in ("e/0", "e/1"):
            await gateway.create(name)
        steps = gateway.engine.discard_steps(gateway.engine.by_id["deleted"])
        next(steps)
        await gateway.delete("e/1")
        await gateway.pull("s", pattern="e/*")
        await gateway.create("e/1")
        at_once(steps)
        await gateway.append("e/1")
        assert (await gateway.claim())[0] == 200


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
