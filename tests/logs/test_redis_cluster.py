"""A log on a Redis Cluster: streams on every node, forks across slots, and slots that move."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING, NamedTuple, Self

import pytest

from headgate.redis_url import parse_redis
from headgate_gateway.errors import LogUnavailable, StreamGone
from headgate_gateway.logs.redis.connector import RedisConnector, RedisSettings
from headgate_gateway.logs.redis.names import RedisNames
from headgate_gateway.logs.redis.store import RedisStore
from headgate_gateway.protocol.appends import AppendOutcome
from headgate_gateway.protocol.streams.offsets import parse_offset
from headgate_gateway.protocol.streams.state import Lifetime, Stamp, position_of
from tests.logs.contract import appended, loaded
from tests.logs.redis_logs import Hearing, connected
from tests.streams.service import Service
from tests.support.manual_clock import at
from tests.support.redis_groups import ClusterServers
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from headgate_gateway.logs.redis.log import RedisLog
    from tests.support.redis_servers import RedisServer


@pytest.fixture(scope="module")
def cluster(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    with ClusterServers(tmp_path_factory.mktemp("cluster")) as servers:
        yield servers


class Gateways(NamedTuple):
    """Two gateways on a cluster, and how their keys are named."""

    cluster: ClusterServers
    names: RedisNames
    log: RedisLog
    subscriptions: Hearing
    other: RedisLog

    def slot(self, path: str) -> int:
        return int(self.cluster.nodes[0].command("CLUSTER", "KEYSLOT", self.names.meta(path)))

    def owner(self, path: str) -> RedisServer:
        """The node that has a stream's slot now."""
        slot = self.slot(path)  # which does not depend on the prefix
        for first, last, (_, port, *_), *_ in self.cluster.nodes[0].command("CLUSTER", "SLOTS"):
            if first <= slot <= last:
                return next(node for node in self.cluster.nodes if node.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def on_each_node(self) -> list[str]:
        """The path of a stream for each node, in the order of the nodes."""
        paths: dict[int, str] = {}
        for number in range(200):
            paths.setdefault(self.owner(f"s{number}").port, f"s{number}")
            if len(paths) == len(self.cluster.nodes):
                break
        return [paths[node.port] for node in self.cluster.nodes]


@pytest.fixture
async def gateways(cluster: ClusterServers) -> AsyncIterator[Gateways]:
    names, subscriptions = RedisNames(uuid.uuid4().hex), Hearing()
    url = f"{cluster.url}?prefix={names.prefix}"
    async with connected(url, subscriptions) as log, connected(url) as other:
        yield Gateways(cluster, names, log, subscriptions, other)


async def test_no_stream_is_created_while_the_list_refuses_its_path(gateways: Gateways) -> None:
    """Else nothing would list it."""
    names, log = gateways.names, gateways.log
    node = gateways.cluster.node_of(names.paths)
    path = next(one for one in gateways.on_each_node() if gateways.owner(one) is not node)
    node.command("SET", names.paths, "hello")
    service = Service(log)
    with pytest.raises(LogUnavailable, match="holds something else"):
        await service.create(path)
    assert await loaded(log, path) is None
    node.command("DEL", names.paths)
    await service.create(path)
    assert (await log.listing.search("", "", bool, 9)).paths == [path]


async def test_a_deadline_that_its_server_refuses_is_set_later_and_ends_no_new_stream_unseen(
    gateways: Gateways,
) -> None:
    """A stream is not created without it, as nothing else would end the stream."""
    names, log = gateways.names, gateways.log
    node = gateways.cluster.node_of(names.deadlines)
    elsewhere = (f"s{number}" for number in range(200) if gateways.owner(f"s{number}") is not node)
    path, new = next(elsewhere), next(elsewhere)
    service = Service(log)
    await service.create(path)
    node.command("SET", names.deadlines, "hello")
    with pytest.raises(LogUnavailable, match="holds something else"):
        await service.create(new, lifetime=Lifetime(ttl_s=10))
    await log.commit([appended(await service.present(path), b"x", deadline=5.0)])
    node.command("DEL", names.deadlines)
    assert await log.expired(at(9.0), 9) == [path]
    assert await loaded(log, new) is None


async def test_a_closed_log_opens_no_further_cluster_connections(cluster: ClusterServers) -> None:
    """Though a call that was under way finds that its stream is elsewhere."""

    def connections() -> int:
        stats = (node.info("stats") for node in cluster.nodes)
        return sum(int(one["total_connections_received"]) for one in stats)

    async with connected(cluster.url) as log:
        pass
    before = connections()
    asked_by_us = connections() - before
    before += asked_by_us
    log.store.servers.moved()
    with pytest.raises(LogUnavailable, match="the gateway is stopping"):
        await log.load("s")
    assert connections() - before == asked_by_us


class Move:
    """A slot on its way from one node to another, step by step."""

    def __init__(self, gateways: Gateways, path: str) -> None:
        self._cluster = gateways.cluster
        self.slot = gateways.slot(path)
        self.source = gateways.owner(path)
        self.target = next(node for node in self._cluster.nodes if node is not self.source)

    def __enter__(self) -> Self:
        self.target.command(
            "CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.source.command("CLUSTER", "MYID")
        )
        self.source.command(
            "CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.target.command("CLUSTER", "MYID")
        )
        return self

    def __exit__(self, *_: object) -> None:
        self.take_keys()
        identity = self.target.command("CLUSTER", "MYID")
        others = [node for node in self._cluster.nodes if node is not self.target]
        for node in (self.target, *others):
            node.command("CLUSTER", "SETSLOT", self.slot, "NODE", identity)

    def take_keys(self, most: int = 1000) -> None:
        """Take keys along; from then on the source sends those who ask for them to the target."""
        keys = self.source.command("CLUSTER", "GETKEYSINSLOT", self.slot, most)
        if keys:
            to = ("127.0.0.1", self.target.port, "", 0, 5000, "KEYS")
            assert self.source.command("MIGRATE", *to, *keys) == b"OK"


def move(gateways: Gateways, path: str) -> None:
    """All of it."""
    with Move(gateways, path):
        pass


# ---------------------------------------------------------------- streams on every node


async def test_streams_on_every_cluster_node_are_written_and_read_through_both_gateways(
    gateways: Gateways,
) -> None:
    service, beside = Service(gateways.log), Service(gateways.other)
    paths = gateways.on_each_node()
    assert len(set(paths)) == 3
    for path in paths:
        await service.create(path, b"one ")
        await beside.append(path, b"two ")
        await service.append(path, b"three")
        assert await service.data(path) == await beside.data(path) == b"one two three"
        assert gateways.owner(path).command("EXISTS", gateways.names.meta(path)) == 1
    for path in paths:
        await beside.lifecycle.delete(path)
        assert await loaded(gateways.log, path) is None


async def test_a_chain_of_forks_across_all_nodes_reads_each_level(gateways: Gateways) -> None:
    service, beside = Service(gateways.log), Service(gateways.other)
    first, second, third = gateways.on_each_node()
    await service.create(first, b"0")
    await beside.fork(second, first, b"1")
    await service.fork(third, second, b"2")
    await service.append(first, b"x")
    await service.append(second, b"y")
    assert await beside.data(third) == b"012"
    state = await service.present(third)
    for start in range(3):
        chunk = await gateways.log.read(state, start, 100)
        assert b"".join(chunk.records) == b"012"[start:]
        assert (await gateways.log.read(state, start, start + 1)).end == start + 1
    await service.lifecycle.delete(first)
    await beside.lifecycle.delete(second)
    with pytest.raises(StreamGone):
        await service.present(first)
    assert await service.data(third) == b"012"
    await beside.lifecycle.delete(third)
    for path in (first, second, third):
        assert await loaded(gateways.log, path) is None
        assert gateways.owner(path).command("EXISTS", gateways.names.records(path)) == 0


async def test_streams_on_every_cluster_node_are_removed_in_time(gateways: Gateways) -> None:
    service = Service(gateways.log)
    paths = gateways.on_each_node()
    for path in paths:
        await service.create(path, lifetime=Lifetime(ttl_s=60))
    assert await gateways.other.expired(at(service.clock() + 59), 10) == []
    late = await gateways.other.expired(at(service.clock() + 60), 10)
    assert sorted(late) == sorted(paths)
    service.clock.advance(61)
    await service.sweeper.round()
    assert service.sweeper.expired == 3
    assert await gateways.other.expired(at(service.clock() + 60), 10) == []


# ---------------------------------------------------------------- news


async def test_appends_on_every_node_reach_followers(gateways: Gateways) -> None:
    beside, subscriptions = Service(gateways.other), gateways.subscriptions
    paths = gateways.on_each_node()
    for path in paths:
        await beside.create(path)
        gateways.log.sharing.follow(path)
    await until(lambda: set(paths) <= set(subscriptions.missing))
    for path in paths:
        await beside.append(path, path.encode())
    await until(lambda: len(subscriptions.changes) == 3)
    told = {change.state.path: change.records[0].data for change in subscriptions.changes}
    assert told == {path: path.encode() for path in paths}
    for path in paths:
        gateways.log.sharing.unfollow(path)


async def test_removals_on_every_node_reach_every_gateway(gateways: Gateways) -> None:
    beside, subscriptions = Service(gateways.other), gateways.subscriptions
    await until(lambda: subscriptions.histories >= 1)
    removals = []
    for path in gateways.on_each_node():
        removals.append((path, (await beside.create(path)).state.stream_id))
        await beside.lifecycle.delete(path)
    await until(lambda: len(subscriptions.removals) == 3)
    assert sorted(subscriptions.removals) == sorted(removals)


# ---------------------------------------------------------------- slots that move


async def test_a_stream_whose_slot_has_moved_is_served_by_the_new_node(gateways: Gateways) -> None:
    service, beside = Service(gateways.log), Service(gateways.other)
    (path, *_) = gateways.on_each_node()
    await service.create(path)
    await beside.append(path, b"0")
    offsets = []
    for number in range(1, 4):
        move(gateways, path)
        offsets.append((await service.append(path, b"%d" % number)).next_offset)
        assert await beside.data(path) == b"0123"[: number + 1]
    state = await beside.present(path)
    assert [position_of(state, parse_offset(one, "offset")) for one in offsets] == [2, 3, 4]


async def test_reads_of_a_known_stream_are_served_while_its_slot_moves(gateways: Gateways) -> None:
    service = Service(gateways.log)
    (path, *_) = gateways.on_each_node()
    await service.create(path, b"0")
    await service.append(path, b"1")
    state = await service.present(path)
    with Move(gateways, path) as moving:
        moving.take_keys()
        assert (await gateways.log.read(state, 0, 9)).records == (b"0", b"1")
        assert (await gateways.log.read(state, 1, 9)).records == (b"1",)


async def test_a_stream_is_loaded_in_a_new_history_while_its_slot_moves(gateways: Gateways) -> None:
    service = Service(gateways.log)
    await service.create("s")
    await service.lifecycle.delete("s")  # else a key is missing, and the server has it waited for
    await service.create("s", b"one")
    state = await service.present("s")
    meta = gateways.names.meta("s")
    gateways.owner("s").command("HSET", meta, "r", f"{state.history - 1} 00000000")
    with Move(gateways, "s"):
        assert await loaded(gateways.log, "s") == state


@pytest.mark.parametrize("taken", [0, 1, 2])
async def test_appends_wait_until_their_slot_has_moved(gateways: Gateways, taken: int) -> None:
    """A call with several keys is refused meanwhile when one of them is not there."""
    service = Service(gateways.log)
    (path, *_) = gateways.on_each_node()
    await service.create(path, b"0")
    with Move(gateways, path) as moving:
        moving.take_keys(taken)
        appending = service.submit(path, b"1", producer=Stamp("p", 0, 0))
        done, _ = await asyncio.wait([appending], timeout=1.5)
        assert not done
    assert isinstance(await appending, AppendOutcome)
    assert await service.data(path) == b"01"


async def test_a_followed_stream_is_notified_from_its_new_node(gateways: Gateways) -> None:
    beside, subscriptions = Service(gateways.other), gateways.subscriptions
    (path, *_) = gateways.on_each_node()
    await beside.create(path)
    gateways.log.sharing.follow(path)
    await until(lambda: path in subscriptions.missing)
    for _ in range(2):
        subscriptions.missing.clear()
        move(gateways, path)
        await until(lambda: path in subscriptions.missing)
        subscriptions.changes.clear()
        while not subscriptions.changes:
            # A server that is found to be new is subscribed to once more, which may miss one.
            subscriptions.missing.clear()
            await beside.append(path, b"x")
            await until(lambda: bool(subscriptions.changes) or path in subscriptions.missing)
    gateways.log.sharing.unfollow(path)


async def test_a_stream_is_followed_though_the_cluster_changes_while_its_node_is_looked_for(
    cluster: ClusterServers,
) -> None:
    heard: list[bytes | None] = []
    connector = RedisConnector(RedisSettings(parse_redis(cluster.url)))
    store = RedisStore(connector, lambda _: None)

    async def surveyed() -> None:
        await store.servers.addresses()
        store.servers.moved()  # before the other one that waits for the same survey goes on

    surveying = asyncio.create_task(surveyed())
    await asyncio.sleep(0)
    store.notifications.subscribe("s", heard.append)
    await surveying
    await until(lambda: heard == [None])
    await store.close()


@pytest.mark.usefixtures("processes")
async def test_a_node_restarted_without_data_loses_only_its_own_streams(gateways: Gateways) -> None:
    service = Service(gateways.other)
    await until(lambda: gateways.subscriptions.histories >= 1)
    paths = gateways.on_each_node()
    for path in paths:
        await service.create(path, b"one")
    histories = gateways.subscriptions.histories
    lost = gateways.owner(paths[1])
    await asyncio.to_thread(lost.restart)
    await until(gateways.cluster.is_whole)
    await until(
        lambda: (
            gateways.log.why_unhealthy() is None and gateways.subscriptions.histories > histories
        )
    )
    assert [await loaded(gateways.log, path) is None for path in paths] == [False, True, False]
    for path in (paths[0], paths[2]):
        await service.append(path, b"two")
        assert await service.data(path) == b"onetwo"
    assert (await service.create(paths[1], b"new")).new


@pytest.mark.usefixtures("processes")
async def test_a_fork_gets_no_other_bytes_for_those_its_source_lost(gateways: Gateways) -> None:
    service = Service(gateways.other)
    source, fork, _ = gateways.on_each_node()
    node = gateways.owner(source)
    await service.create(source, b"one ")
    await asyncio.to_thread(node.command, "SAVE")
    lost = (await service.append(source, b"two ")).next_offset
    await service.fork(fork, source, b"mine")
    assert await service.data(fork) == b"one two mine"
    histories = gateways.subscriptions.histories
    await asyncio.to_thread(node.restart)
    await until(gateways.cluster.is_whole)
    await until(
        lambda: (
            gateways.log.why_unhealthy() is None and gateways.subscriptions.histories > histories
        )
    )
    beside = Service(gateways.log)
    for _ in range(2):
        kept = await beside.present(fork)
        assert (await gateways.log.read(kept, 0, 1000)).records == (b"one ",)
        with pytest.raises(StreamGone, match=r"lost what the fork's source had"):
            await gateways.log.read(kept, 4, 1000)
        assert position_of(kept, parse_offset(lost, "offset")) == 8
        if (await beside.data(source)) == b"one ":
            await beside.append(source, b"TWO ")  # as many other bytes in the place of the lost
    assert await beside.data(source) == b"one TWO "
