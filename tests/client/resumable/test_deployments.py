"""Streams over each kind of Redis, by its URL and by a client of the application."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from redis.asyncio import Redis, RedisCluster, Sentinel

from headgate import Unavailable
from headgate.resumable import ResumableStreams, listener, production
from headgate.resumable import redis as redis_broker
from headgate.resumable.messages import sentinel
from tests.client.resumable.doubles import Tap, chunks, resumed, state_is, whole
from tests.support.certificates import Authority
from tests.support.listener import Listener
from tests.support.ports import HOST, free_port
from tests.support.redis_groups import SERVICE, ClusterServers, SentinelGroup
from tests.support.redis_servers import RedisServer
from tests.support.waiting import SERVER_PATIENCE_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("processes")

TEXT = "naïve 🙂 text"


@pytest.fixture(scope="module")
def sentinels(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelGroup]:
    with SentinelGroup(tmp_path_factory.mktemp("sentinels")) as group:
        yield group


@pytest.fixture(scope="module")
def cluster(processes: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterServers]:
    with ClusterServers(tmp_path_factory.mktemp("cluster"), replicas=1) as servers:
        yield servers


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority("of tests", tmp_path_factory.mktemp("authority") / "ca.pem")


class ReachableServer:
    """A Redis with a password, on TCP with and without TLS, and on a socket."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        pair = authority.issue().write(folder)
        self.tls_port, self.socket = free_port(), folder / "s"
        options = {
            "tls-port": str(self.tls_port),
            "tls-cert-file": str(pair.certificate),
            "tls-key-file": str(pair.key),
            "tls-ca-cert-file": str(authority.file),
            "tls-auth-clients": "no",
            "unixsocket": str(self.socket),
            "requirepass": "s3cret",
        }
        self.server = RedisServer(folder / "redis", options=options)


@pytest.fixture(scope="module")
def reachable(
    processes: None, tmp_path_factory: pytest.TempPathFactory, authority: Authority
) -> Iterator[ReachableServer]:
    one = ReachableServer(tmp_path_factory.mktemp("reachable"), authority)
    try:
        one.server.start()
        yield one
    finally:
        one.server.kill()


async def plays(producer: ResumableStreams, other: ResumableStreams, stream_id: str) -> None:
    """Produce a stream here, and resume it there within a chunk and from its beginning."""
    tap = Tap()
    creator = await producer.create(stream_id, tap)
    tap.give(TEXT)
    assert await anext(creator) == TEXT
    first = await other.resume(stream_id, 3)
    tap.give("more")
    late = await other.resumable(stream_id, tap)
    tap.end()
    assert await whole(first) == TEXT[3:] + "more"
    assert await whole(late) == TEXT + "more"
    assert await whole(creator) == "more"
    await until(lambda: state_is(other, "done", stream_id))
    assert await producer.resumable(stream_id, tap) is None
    assert tap.calls == 1


URLS = ["with a database", "socket", "TLS", "sentinels", "cluster", "one node", "with a prefix"]


@pytest.mark.parametrize("kind", URLS)
async def test_streams_are_resumed_over_a_redis_of_each_form_of_url(
    kind: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "sentinels":
        url = request.getfixturevalue("sentinels").url
    elif kind in {"cluster", "one node"}:
        servers: ClusterServers = request.getfixturevalue("cluster")
        url = servers.url if kind == "cluster" else f"redis+cluster://{servers.nodes[1].address}"
    else:
        reachable: ReachableServer = request.getfixturevalue("reachable")
        monkeypatch.setenv("SSL_CERT_FILE", str(request.getfixturevalue("authority").file))
        url = {
            "with a database": f"{reachable.server.url}/3",
            "socket": f"redis+unix://:s3cret@{reachable.socket}?db=2",
            "TLS": f"rediss://default:s3cret@{HOST}:{reachable.tls_port}",
            "with a prefix": f"{reachable.server.url}?prefix=other",
        }[kind]
    async with ResumableStreams(url, resume_timeout=10) as producer:
        async with ResumableStreams(url, resume_timeout=10) as other:
            names = [f"{uuid.uuid4()}" for _ in range(3)]  # on several nodes
            for name in names:
                await plays(producer, other, name)
        if kind == "with a prefix":
            async with ResumableStreams(url.replace("other", "headgate")) as elsewhere:
                assert await elsewhere.state(names[0]) is None


class Clients:
    """Makes clients as applications do, which the application closes."""

    def __init__(self, request: pytest.FixtureRequest) -> None:
        self._request = request
        self.made: list[Any] = []

    def make(self, kind: str) -> Any:
        get = self._request.getfixturevalue
        if kind == "sentinels":
            nodes = [(HOST, one.port) for one in get("sentinels").sentinels]
            group = Sentinel(nodes)  # type: ignore[no-untyped-call]
            self.made += group.sentinels
            client = group.master_for(SERVICE)
        elif kind == "cluster":
            client = RedisCluster(host=HOST, port=get("cluster").nodes[0].port)
        else:
            reachable: ReachableServer = get("reachable")
            options: dict[str, Any] = {"password": "s3cret", "port": reachable.server.port}
            kinds: dict[str, dict[str, Any]] = {
                "by default": {},
                "text and RESP2": {"decode_responses": True, "protocol": 2},
                "another encoding": {"decode_responses": True, "encoding": "latin-1"},
                "few connections": {"max_connections": 9},
                "health checks": {"health_check_interval": 0.001},
                "TLS": {
                    "port": reachable.tls_port,
                    "ssl": True,
                    "ssl_ca_certs": str(get("authority").file),
                },
            }
            client = Redis(host=HOST, **{**options, **kinds[kind]})
        self.made.append(client)
        return client


@pytest.fixture
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[Clients]:
    clients = Clients(request)
    yield clients
    for client in clients.made:
        await client.aclose()


CLIENTS = [
    *("by default", "text and RESP2", "another encoding", "few connections", "health checks"),
    *("TLS", "sentinels", "cluster"),
]


@pytest.mark.parametrize("kind", CLIENTS)
async def test_streams_are_resumed_over_a_client_of_the_application_which_stays_open(
    kind: str, clients: Clients
) -> None:
    mine = clients.make(kind)
    async with ResumableStreams(clients.make(kind), resume_timeout=10) as other:
        async with ResumableStreams(mine, resume_timeout=10) as producer:
            for _ in range(3):
                await plays(producer, other, f"{uuid.uuid4()}")
            assert await mine.ping()
        assert _open_connections(mine) > 0
        assert await mine.ping()
        await mine.aclose()
        async with producer:  # redis-py opens a closed client again at its next use
            await plays(producer, other, f"{uuid.uuid4()}")


def _open_connections(client: Any) -> int:
    """Return how many connections for commands the client holds, without that for messages."""
    if isinstance(client, RedisCluster):
        pools = [node._connections for node in client.get_nodes()]
        return sum(one.is_connected for pool in pools for one in pool)
    pool = client.connection_pool
    return sum(one.is_connected for one in pool._available_connections)


async def test_a_stream_of_a_client_costs_one_incr_and_one_subscribe(
    reachable: ReachableServer, clients: Clients
) -> None:
    server = reachable.server
    async with ResumableStreams(clients.make("by default")) as streams:
        await whole(await streams.create(f"{uuid.uuid4()}", lambda: chunks("text")))
        await until(lambda: server.command("PUBSUB", "CHANNELS") == [])
        server.command("CONFIG", "RESETSTAT")
        tap = Tap()
        text = await streams.create(f"{uuid.uuid4()}", tap)
        stats = server.info("commandstats")
        own = {"cmdstat_config|resetstat", "cmdstat_info", "cmdstat_auth", "cmdstat_hello"}
        own |= {"cmdstat_client|setinfo"}
        counts = {name: figures["calls"] for name, figures in stats.items() if name not in own}
        assert counts == {"cmdstat_incr": 1, "cmdstat_subscribe": 1}
        tap.end()
        await whole(text)


class CutReplies:
    """A proxy before a Redis that cuts a connection when it would pass on the reply to an INCR."""

    def __init__(self, port: int) -> None:
        self._target_port = port
        self.increments = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection(HOST, self._target_port)
        is_cut = False

        async def up() -> None:
            nonlocal is_cut
            while data := await reader.read(1 << 16):
                if b"INCR" in data:  # or INCRBY
                    is_cut = True
                    self.increments += 1
                to_server.write(data)

        async def down() -> None:
            while data := await server.read(1 << 16):
                if is_cut:
                    return  # Redis has carried it out
                writer.write(data)

        tasks = {asyncio.create_task(up()), asyncio.create_task(down())}
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            to_server.transport.abort()
            writer.transport.abort()


@pytest.mark.parametrize("kind", ["client", "url", "cluster"])
async def test_an_incr_whose_reply_is_lost_is_not_sent_again(
    kind: str, reachable: ReachableServer, cluster: ClusterServers, clients: Clients
) -> None:
    """Although the client repeats its own commands: else nobody would produce the stream."""
    name = f"{uuid.uuid4()}"
    node = cluster.node_of(sentinel(name)) if kind == "cluster" else reachable.server
    cutting = CutReplies(node.port)
    async with Listener(cutting.serve) as proxy:
        ports = {node.port: proxy.port}

        def client() -> Any:
            made: Any = Redis(host=HOST, port=proxy.port, password="s3cret")
            if kind == "cluster":
                made = RedisCluster(
                    host=HOST,
                    port=cluster.nodes[0].port,
                    address_remap=lambda address: (address[0], ports.get(address[1], address[1])),
                )
            clients.made.append(made)
            return made

        if kind == "client":
            repeating = asyncio.create_task(client().incr("a"))
            await until(lambda: int(node.command("GET", "a") or 0) > 1, "the client to repeat it")
            repeating.cancel()
            await asyncio.wait({repeating})
        cutting.increments = 0
        redis = f"redis://:s3cret@{HOST}:{proxy.port}" if kind == "url" else client()
        async with ResumableStreams(redis) as streams:
            with pytest.raises(Unavailable, match="the Redis of resumable streams is away"):
                await streams.create(name, lambda: chunks("text"))
            assert await streams.state(name) == "active"
    assert cutting.increments == 1
    assert node.command("GET", sentinel(name)) == b"1"


@pytest.mark.parametrize("kind", ["by default", "cluster"])
async def test_connections_that_redis_closed_meanwhile_cost_no_error(
    kind: str, clients: Clients, request: pytest.FixtureRequest
) -> None:
    client = clients.make(kind)
    servers = (
        request.getfixturevalue("cluster").nodes
        if kind == "cluster"
        else [request.getfixturevalue("reachable").server]
    )
    async with ResumableStreams(client) as streams:
        for _ in range(3):
            names = [f"{uuid.uuid4()}" for _ in range(20)]
            texts = (streams.create(name, lambda: chunks("text")) for name in names)
            assert [await whole(text) for text in await asyncio.gather(*texts)] == ["text"] * 20
            for name in names:
                await until(partial(state_is, streams, "done", name))
            for server in servers:
                server.command("CLIENT", "KILL", "TYPE", "normal")
            await asyncio.sleep(0.1)  # until this process knows that they were closed


@contextlib.asynccontextmanager
async def producing(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ResumableStreams, ResumableStreams, Tap, str]]:
    monkeypatch.setattr(listener, "ASK_EVERY_S", 0.3)
    monkeypatch.setattr(production, "RENEW_S", 0.2)
    monkeypatch.setattr(redis_broker, "PING_S", 0.5)
    async with (
        ResumableStreams(url, resume_timeout=20) as producer,
        ResumableStreams(url, resume_timeout=20) as other,
    ):
        yield producer, other, Tap(), f"{uuid.uuid4()}"


@pytest.mark.parametrize("is_frozen", [False, True], ids=["killed", "frozen"])
async def test_a_stream_goes_on_when_sentinels_name_another_primary(
    sentinels: SentinelGroup, monkeypatch: pytest.MonkeyPatch, *, is_frozen: bool
) -> None:
    monkeypatch.setattr(redis_broker, "ANSWER_WITHIN_S", 1.0)
    async with producing(sentinels.url, monkeypatch) as (producer, other, tap, name):
        creator = await producer.create(name, tap)
        reader = await resumed(other, stream_id=name)
        tap.give("before ")
        assert (await anext(creator), await anext(reader)) == ("before ", "before ")
        lost = sentinels.primary()
        (lost.pause if is_frozen else lost.kill)()
        try:
            tap.give("meanwhile ")
            await asyncio.to_thread(sentinels.await_failover, lost)
            await until(lambda: state_is(other, "active", name), within_s=SERVER_PATIENCE_S)
            tap.give("after")
            tap.end()
            assert await whole(reader) == "meanwhile after"
            await until(lambda: state_is(other, "done", name), within_s=SERVER_PATIENCE_S)
            await plays(producer, other, f"{uuid.uuid4()}")
        finally:
            if is_frozen:
                lost.resume()
            else:
                lost.start()
            await asyncio.to_thread(sentinels.await_in_sync)


async def test_a_frozen_sentinel_is_passed_over_within_the_time_of_a_command(
    sentinels: SentinelGroup,
) -> None:
    frozen = sentinels.sentinels[0]
    frozen.pause()
    try:
        async with ResumableStreams(sentinels.url, resume_timeout=20) as streams:
            text = await streams.create(f"{uuid.uuid4()}", lambda: chunks("text"))
            assert await whole(text) == "text"
    finally:
        frozen.resume()
        await asyncio.to_thread(sentinels.await_in_sync)


async def test_a_stream_goes_on_when_a_node_of_the_cluster_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its key is on that node, and perhaps the subscriptions."""
    monkeypatch.setattr(redis_broker, "ANSWER_WITHIN_S", 1.0)
    with ClusterServers(tmp_path, replicas=1) as cluster:
        async with producing(cluster.url, monkeypatch) as (producer, other, tap, name):
            creator = await producer.create(name, tap)
            reader = await resumed(other, stream_id=name)
            tap.give("before ")
            assert (await anext(creator), await anext(reader)) == ("before ", "before ")
            cluster.node_of(sentinel(name)).kill()
            tap.give("meanwhile ")
            await until(lambda: state_is(other, "active", name), within_s=SERVER_PATIENCE_S)
            tap.give("after")
            tap.end()
            assert await whole(reader) == "meanwhile after"
            await until(lambda: state_is(other, "done", name), within_s=SERVER_PATIENCE_S)
            for _ in range(5):
                await plays(producer, other, f"{uuid.uuid4()}")


async def test_an_incr_follows_a_slot_that_has_moved_to_another_node(
    cluster: ClusterServers,
) -> None:
    name = f"{uuid.uuid4()}"
    source = cluster.node_of(sentinel(name))
    target = next(node for node in cluster.nodes if node is not source)
    slot = int(source.command("CLUSTER", "KEYSLOT", sentinel(name)))
    async with ResumableStreams(cluster.url) as streams:
        assert await streams.state(name) is None  # it knows where the slots are
        _move(cluster, slot, target)
        try:
            assert await whole(await streams.create(name, lambda: chunks("text"))) == "text"
            await until(lambda: state_is(streams, "done", name))
        finally:
            for node in cluster.nodes:
                node.command("FLUSHALL")
            _move(cluster, slot, source)


def _move(cluster: ClusterServers, slot: int, target: RedisServer) -> None:
    """Give an empty slot to another node."""
    target_id = target.command("CLUSTER", "MYID")
    for node in (target, *(each for each in cluster.nodes if each is not target)):
        node.command("CLUSTER", "SETSLOT", slot, "NODE", target_id)
