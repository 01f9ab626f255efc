"""What a log in Redis tells of other gateways: changes of followed streams, and what was missed."""

from __future__ import annotations

import asyncio
import socket
import uuid
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.logs.redis.commits import MOST_PUBLISHED
from headgate_gateway.logs.redis.connection import RedisConnection
from headgate_gateway.logs.redis.connector import ONLY, RedisConnector, RedisSettings
from headgate_gateway.logs.redis.notifications import AT_ONCE, Subscription
from headgate_gateway.protocol.streams.state import Change, ProducerState
from tests.logs.contract import appended, committed, created, redis_log, removed, with_producers
from tests.logs.redis_logs import Hearing, connected
from tests.support import virtual_time
from tests.support.gated_log import turns
from tests.support.waiting import PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.protocol.streams.state import StreamState
    from tests.support.redis_servers import RedisServer

replace = msgspec.structs.replace


class Pair(NamedTuple):
    """Two gateways on one server: one hears, the other writes."""

    server: RedisServer
    log: RedisLog
    subscriptions: Hearing
    other: RedisLog

    async def create(self, path: str) -> StreamState:
        change = created(self.other, path)
        await self.other.commit([change])
        return change.state

    async def follow(self, *paths: str) -> None:
        """Until news of the streams come for sure."""
        self.subscriptions.missing.clear()
        for path in paths:
            self.log.sharing.follow(path)
        await until(lambda: sorted(self.subscriptions.missing) == sorted(paths))
        self.subscriptions.missing.clear()

    async def followed(self) -> StreamState:
        """Return a new stream that is followed."""
        state = await self.create("s")
        await self.follow("s")
        return state

    async def tell(self, *changes: Change) -> None:
        """Have the other gateway commit, and the news of it arrive."""
        for change in changes:
            await self.other.commit([change])
        await until(
            lambda: (
                bool(self.subscriptions.changes)
                and told(changes[-1], self.subscriptions.changes[-1])
            )
        )


def told(change: Change, heard: Change) -> bool:
    return (change.state.path, change.state.version) == (heard.state.path, heard.state.version)


@pytest.fixture
async def pair(server: RedisServer) -> AsyncIterator[Pair]:
    subscriptions = Hearing()
    url = f"{server.url}?prefix={uuid.uuid4().hex}"
    async with connected(url, subscriptions) as log, connected(url) as other:
        await until(lambda: subscriptions.histories == 1)  # removals are told from here on
        yield Pair(server, log, subscriptions, other)


# ---------------------------------------------------------------- changes


async def test_changes_of_a_followed_stream_are_notified_whole_and_in_order(pair: Pair) -> None:
    state = await pair.followed()
    changes = []
    for number in range(20):
        change = with_producers(
            appended(state, b"%d" % number, b"more"), "q", p=ProducerState(0, number, 1.5)
        )
        changes.append(change)
        state = change.state
    changes.append(appended(state, closed=True))
    await pair.tell(*changes)
    own = appended(changes[-1].state, b"one")
    await pair.log.commit([own])
    await until(lambda: len(pair.subscriptions.changes) > len(changes))
    assert pair.subscriptions.changes == [*changes, own]
    assert (pair.subscriptions.missing, pair.subscriptions.removals) == ([], [])


@pytest.mark.parametrize(("size", "whole"), [(-1, True), (0, True), (1, False)])
async def test_records_over_the_publish_limit_are_left_out_of_notifications(
    pair: Pair, size: int, whole: bool
) -> None:
    state = await pair.followed()
    change = appended(state, b"x" * (MOST_PUBLISHED // 2), b"y" * (MOST_PUBLISHED // 2 + size))
    await pair.tell(change)
    assert pair.subscriptions.changes == [change if whole else replace(change, records=())]


async def test_simultaneous_changes_of_followed_streams_are_each_notified(pair: Pair) -> None:
    states = [await pair.create(path) for path in "abc"]
    await pair.follow("a", "c")
    changes = [appended(state, b"x") for state in states]
    await asyncio.gather(*[pair.other.commit([change]) for change in changes])
    await until(lambda: len(pair.subscriptions.changes) == 2)
    assert pair.subscriptions.changes == [changes[0], changes[2]]


async def test_changes_are_not_notified_after_a_stream_is_unfollowed(pair: Pair) -> None:
    states = {path: await pair.create(path) for path in ("stays", "goes")}
    await pair.follow("stays", "goes")
    for path in states:
        pair.log.sharing.unfollow(path)
    await pair.follow("stays")  # again, at once
    # The server takes the commands of a connection in order: this follow is behind the other.
    await pair.follow("later")
    await pair.other.commit([appended(states["goes"], b"x")])
    await pair.tell(appended(states["stays"], b"x"))
    assert [change.state.path for change in pair.subscriptions.changes] == ["stays"]


async def test_the_creation_of_a_stream_followed_in_advance_is_notified(pair: Pair) -> None:
    await pair.follow("s")
    change = created(pair.other, "s", b"one")
    await pair.tell(change)
    assert pair.subscriptions.changes == [change]


@pytest.mark.parametrize("count", [AT_ONCE, AT_ONCE + 1, 2 * AT_ONCE + 500])
async def test_streams_followed_beyond_a_batch_are_all_notified(pair: Pair, count: int) -> None:
    paths = [f"s{number}" for number in range(count)]
    await pair.follow(*paths)
    change = created(pair.other, paths[-1], b"x")
    await pair.tell(change)
    assert pair.subscriptions.changes == [change]


# ---------------------------------------------------------------- removals


async def test_a_removal_is_notified_to_followers_and_reported_to_all_gateways(pair: Pair) -> None:
    states = [await pair.create(path) for path in ("followed", "a/b%2Fc")]
    await pair.follow("followed")
    removals = [removed(state) for state in states]
    for removal in removals:
        await pair.other.commit([removal])
    await until(lambda: len(pair.subscriptions.removals) == 2)
    assert pair.subscriptions.removals == [(state.path, state.stream_id) for state in states]
    await until(lambda: bool(pair.subscriptions.changes))
    assert pair.subscriptions.changes == [removals[0]]


async def test_removals_under_another_prefix_are_not_reported(pair: Pair) -> None:
    async with connected(f"{pair.server.url}?prefix={uuid.uuid4().hex}") as apart:
        change = await committed(apart, created(apart, "s"))
        await apart.commit([removed(change.state)])
    state = await pair.create("s")
    await pair.other.commit([removed(state)])
    await until(lambda: bool(pair.subscriptions.removals))
    assert pair.subscriptions.removals == [("s", state.stream_id)]


# ---------------------------------------------------------------- a lost connection


async def test_every_followed_stream_is_missed_after_a_lost_connection(pair: Pair) -> None:
    states = {path: await pair.create(path) for path in "abc"}
    await pair.follow("a", "b", "c")
    pair.log.sharing.unfollow("b")
    histories = pair.subscriptions.histories
    pair.server.command("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: sorted(pair.subscriptions.missing) == ["a", "c"])
    # Of what is cached nobody knows what was removed meanwhile.
    await until(lambda: pair.subscriptions.histories == histories + 1)
    change = appended(states["c"], b"x")
    await pair.tell(change)
    assert pair.subscriptions.changes == [change]
    await pair.other.commit([removed(states["b"])])
    await until(lambda: bool(pair.subscriptions.removals))


async def test_streams_followed_without_a_connection_are_subscribed_later(pair: Pair) -> None:
    await pair.follow("a")
    pair.server.command("CLIENT", "KILL", "TYPE", "pubsub")
    pair.log.sharing.follow("b")
    pair.log.sharing.unfollow("a")
    await until(lambda: "b" in pair.subscriptions.missing)
    change = created(pair.other, "b", b"x")
    await pair.tell(change)
    assert pair.subscriptions.changes == [change]


async def test_changes_during_a_lost_connection_are_found_by_the_load_after_it(pair: Pair) -> None:
    """What was told as missed is told after the subscription is in force, never before."""
    state = await pair.followed()
    for _ in range(10):
        pair.subscriptions.missing.clear()
        pair.subscriptions.changes.clear()
        pair.server.command("CLIENT", "KILL", "TYPE", "pubsub")
        change = appended(state, b"x")
        state = change.state
        await pair.other.commit([change])
        await until(lambda: bool(pair.subscriptions.missing))
        found = (await pair.log.load("s")).path_state.state
        assert found == state


@pytest.mark.usefixtures("server")
async def test_a_log_is_closed_at_once_while_its_connection_is_being_made() -> None:
    """Between any two passes of the loop."""
    for passes in range(0, 60, 2):
        log = redis_log()
        await log.open()
        await turns(passes)
        async with asyncio.timeout(PATIENCE_S):
            await log.close()


@pytest.mark.parametrize("passes", range(4))
async def test_a_subscription_cut_while_it_is_being_made_is_made_again(
    server: RedisServer, passes: int
) -> None:
    """So many passes of the loop after it was made."""
    connector = RedisConnector(RedisSettings(parse_redis(server.url)))
    channel = uuid.uuid4().hex.encode()
    heard: list[bytes] = []
    made = 0

    def cut_later(passes: int) -> None:
        if passes:
            asyncio.get_running_loop().call_soon(cut_later, passes - 1)
        else:
            subscription.cut()

    async def connect() -> RedisConnection:
        nonlocal made
        connection = await connector.connect(ONLY)
        made += 1
        if made <= 3:
            cut_later(passes)
        return connection

    subscription = Subscription(connector, connect, channel, lambda name, _: heard.append(name))
    subscription.start()
    try:
        await until(lambda: made == 4 and bool(heard))
        server.command("CLIENT", "KILL", "TYPE", "pubsub")  # it lives, and is made anew when lost
        await until(lambda: made == 5)
    finally:
        await subscription.stop()


def _connections(lives_s: float, within_s: float) -> list[float]:
    """When a subscription connects to a server that ends each connection after so long."""
    made: list[float] = []
    ends: list[socket.socket] = []

    async def listen() -> None:
        loop = asyncio.get_running_loop()

        async def connect() -> RedisConnection:
            made.append(loop.time())
            if len(made) > within_s * 20:  # far too many: let the test end
                await asyncio.sleep(within_s)
            ours, theirs = socket.socketpair()
            ends.append(theirs)
            connection = RedisConnection()
            await loop.create_connection(lambda: connection, sock=ours)
            loop.call_later(lives_s, theirs.close)
            return connection

        connector = RedisConnector(RedisSettings(parse_redis("redis://127.0.0.1")))
        subscription = Subscription(connector, connect, None, lambda *_: None)
        subscription.start()
        await asyncio.sleep(within_s)
        await subscription.stop()
        for end in ends:
            end.close()

    virtual_time.run(listen())
    return made


@pytest.mark.parametrize("lives_s", [0.0, 0.45])
def test_a_server_that_closes_each_connection_is_retried_with_pauses(lives_s: float) -> None:
    made = _connections(lives_s, 60)
    pauses = [after - before - lives_s for before, after in pairwise(made)]
    assert all(0.05 <= pause <= 1 for pause in pauses[:4])  # a server that is back is soon heard
    assert all(0.5 <= pause <= 1 for pause in pauses[4:])
    assert len({round(pause, 6) for pause in pauses}) > 10  # gateways do not come together


def test_a_subscription_lost_after_a_second_is_remade_at_once() -> None:
    assert _connections(1.0, 5.5) == pytest.approx([0, 1, 2, 3, 4, 5])


async def test_a_channel_added_while_connecting_is_reported_once(server: RedisServer) -> None:
    connector = RedisConnector(RedisSettings(parse_redis(server.url)))
    added, last = (uuid.uuid4().hex.encode() for _ in range(2))
    heard: list[bytes] = []

    async def connect() -> RedisConnection:
        asyncio.get_running_loop().call_soon(subscription.add, added)
        return await connector.connect(ONLY)

    subscription = Subscription(connector, connect, None, lambda channel, _: heard.append(channel))
    subscription.start()
    try:
        await until(lambda: added in heard)
        subscription.add(last)  # is answered after whatever was asked before
        await until(lambda: last in heard)
        assert heard == [added, last]
    finally:
        await subscription.stop()
