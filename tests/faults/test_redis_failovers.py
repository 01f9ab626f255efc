"""Redis loses what it acknowledged: it is counted, and no offset ever returns two contents."""

from __future__ import annotations

import asyncio
import shutil
from typing import TYPE_CHECKING

import pytest

from tests.edge.gateways import edge
from tests.faults.disasters import Failover, Oblivion, Rollback, SplitBrain
from tests.faults.ledger import Faults, Ledger
from tests.faults.prefixes import Prefixes, Trace, traces
from tests.faults.readback import check
from tests.faults.redis_failovers import Report, lose_again_and_again, roaming_gateways
from tests.faults.redis_torture import QUICK, session
from tests.support.cutting_proxy import CuttingProxy
from tests.support.examples import IS_WHOLE
from tests.support.http1 import ask
from tests.support.processes import Headgate
from tests.support.redis_groups import SentinelGroup
from tests.support.redis_servers import HOST, RedisServer, redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import aiohttp

    from tests.faults.disasters import Disaster

GATEWAYS = 3
SEED = 11
LOSSES = 20 if IS_WHOLE else 2  # one after another
REPLICATION = {"repl-diskless-sync-delay": "0"}


def _run(origin: str, disasters: Sequence[Disaster]) -> Report:
    with roaming_gateways(origin, GATEWAYS) as gateways:
        report = asyncio.run(lose_again_and_again(disasters, gateways, SEED))
    print(report)  # noqa: T201 - the figures are what a run is for
    return report


def _assert_kept_its_word(report: Report, losses: int) -> None:
    assert report.faults == Faults(), "\n".join([str(report), *report.faults.notes])
    assert report.losses == losses, report
    # Without losses, and without readers who had read what is lost, it says nothing.
    assert report.lossy >= losses / 2, report
    assert report.lost > 0, report
    assert report.restarts > 0, report
    assert report.gone > 0, report
    assert report.kept > 0, report


class _Restored:
    """A `file:` log whose folder is replaced by a copy, which nothing tells it about."""

    def __init__(self, server: Headgate, folder: Path) -> None:
        self.server = server
        self.folder = folder
        self.copy = folder.with_name("copy")

    def keep(self) -> None:
        self.server.kill()
        shutil.copytree(self.folder, self.copy)
        self.server.start()

    def strike(self) -> None:
        self.server.kill()

    def recover(self) -> None:
        shutil.rmtree(self.folder)
        self.copy.rename(self.folder)
        self.server.start()


@pytest.mark.torture("the same, as a ledger has it, below")
@pytest.mark.timeout(240)
def test_the_checker_finds_a_log_that_issues_offsets_again(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    server = Headgate(f"file:{folder}", environment=QUICK)
    try:
        server.start()
        restored = _Restored(server, folder)
        report = asyncio.run(lose_again_and_again([restored], [server.streams], SEED))
    finally:
        server.close()
    assert report.lost > 0
    told_twice = ("was given for", "has other content")
    assert any(words in note for note in report.faults.notes for words in told_twice), report


def _trace(ledger: Ledger, messages: Sequence[bytes]) -> Trace:
    return list(traces(ledger, messages))[-1]


@pytest.mark.parametrize("offset", ["1_300", "2_300"])
def test_the_checker_finds_an_offset_that_returns_two_contents(offset: str) -> None:
    """A history in which append 1 of writer 1 is lost and append 0 of writer 2 comes instead."""
    ledger = Ledger("s", is_json=True, closes_after=99, acked={1: 1, 2: 1})
    first, lost, other = (ledger.messages(*append) for append in ((1, 0), (1, 1), (2, 0)))
    prefixes = Prefixes(ledger)
    for end, known in (("1_100", first), ("1_300", [*first, *lost])):
        prefixes.saw(end, _trace(ledger, known), "a reader before the loss")
    prefixes.saw(offset, _trace(ledger, [*first, *other]), "a reader after it")
    faults = check(prefixes, [*first, *other])
    assert faults.total == (offset == "1_300"), faults


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(200 + 20 * LOSSES)
def test_redis_restarts_with_an_older_snapshot_reuse_no_offset(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        report = _run(server.url, [Rollback(server)] * LOSSES)
    _assert_kept_its_word(report, LOSSES)
    assert report.named > 0, report


@pytest.mark.torture("restarts with an older snapshot, and each loss alone in tests/logs")
@pytest.mark.timeout(200 + 20 * LOSSES)
def test_redis_restarts_without_data_reuse_no_offset(tmp_path: Path) -> None:
    with redis_server(tmp_path) as server:
        report = _run(server.url, [Oblivion(server)] * LOSSES)
    _assert_kept_its_word(report, LOSSES)


@pytest.mark.torture("restarts with less, and each way to lose a primary, alone")
@pytest.mark.timeout(200 + 20 * LOSSES)
def test_redis_failovers_without_the_last_writes_reuse_no_offset(tmp_path: Path) -> None:
    with SentinelGroup(tmp_path) as group:
        disasters: list[Disaster] = [Failover(group) for _ in range(LOSSES)]
        disasters[LOSSES // 2] = SplitBrain(group)
        report = _run(group.url, disasters)
    _assert_kept_its_word(report, LOSSES)


class _Trio:
    """Three servers of which one is primary, reached at one address."""

    def __init__(self, folder: Path) -> None:
        self.servers = [RedisServer(folder / str(turn), options=REPLICATION) for turn in range(3)]
        self.door = CuttingProxy(self.servers[0].port, seed=SEED, at_most=1e12)

    def start(self) -> None:
        for server in self.servers:
            server.start()
        self._follow(self.servers[0])

    def hand_over(self, old: int, new: int) -> None:
        """As an operator does it: nothing is lost, and nobody needs a full copy."""
        before, after = self.servers[old], self.servers[new]
        before.command("FAILOVER", "TO", HOST, after.port)
        wait_until(lambda: _role(after) == "master", "the promotion", after.output)
        wait_until(lambda: _role(before) == "slave", "the demotion", before.output)
        self._follow(after)
        self.door.target_port = after.port

    def _follow(self, primary: RedisServer) -> None:
        for server in self.servers:
            if server is not primary:
                server.command("REPLICAOF", HOST, primary.port)

        def is_done() -> bool:
            at = primary.info("replication")["master_repl_offset"]
            return all(_follows(server, primary, at) for server in self.servers)

        wait_until(is_done, "the replicas to be in sync", primary.output)

    def lose_primary(self, old: int, new: int) -> None:
        self.servers[old].kill()
        self.servers[new].command("REPLICAOF", "NO", "ONE")
        self.door.target_port = self.servers[new].port

    def close(self) -> None:
        for server in self.servers:
            server.kill()


def _role(server: RedisServer) -> str:
    return str(server.info("replication")["role"])


def _follows(server: RedisServer, primary: RedisServer, at: int) -> bool:
    seen = server.info("replication")
    return server is primary or (
        seen.get("master_port") == primary.port
        and seen["master_link_status"] == "up"
        and seen["slave_repl_offset"] >= at
    )


async def _append(clients: aiohttp.ClientSession, url: str, text: bytes) -> str:
    """The offset behind it, once it is taken."""
    headers = {"Content-Type": "text/plain"}
    async with asyncio.timeout(30):
        while True:
            async with clients.post(url, headers=headers, data=text) as answer:
                if answer.status == 204:
                    return answer.headers["Stream-Next-Offset"]
                assert answer.status == 503, (answer, await answer.read())
            await asyncio.sleep(0.05)


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
async def test_a_server_that_is_primary_again_issues_no_offset_twice(tmp_path: Path) -> None:
    trio = _Trio(tmp_path)
    try:
        await asyncio.to_thread(trio.start)
        async with trio.door, session() as clients:
            gateway = Headgate(f"redis://{HOST}:{trio.door.port}")
            try:
                await asyncio.to_thread(gateway.start)
                await _check_hand_overs(trio, clients, f"{gateway.streams}/s")
            finally:
                gateway.close()
    finally:
        trio.close()


async def _check_hand_overs(trio: _Trio, clients: aiohttp.ClientSession, url: str) -> None:
    async with clients.put(url, headers={"Content-Type": "text/plain"}) as created:
        assert created.status == 201
    await _append(clients, url, b"first,")
    for old, new in ((0, 1), (1, 2)):
        await asyncio.to_thread(trio.hand_over, old, new)
        await _append(clients, url, b"more,")
    # The first and the second have been primaries before, and have not been restarted since.
    await asyncio.to_thread(trio.hand_over, 2, 1)
    for replica in (0, 2):
        trio.servers[replica].command("REPLICAOF", HOST, 1)
    lost = await _append(clients, url, b"lost.")
    trio.lose_primary(1, 0)
    other = await _append(clients, url, b"other")
    assert lost != other
    async with clients.get(url, params={"offset": lost}) as answer:
        assert answer.status == 410
    async with clients.get(url) as answer:
        assert await answer.text() == "first,more,more,other"


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
def test_a_repeated_append_is_acknowledged_only_after_a_replica_has_it(tmp_path: Path) -> None:
    with SentinelGroup(tmp_path) as group, edge(group.url, {"wait_replicas": 1}) as gateway:
        stream = "/v1/stream/s"

        def post(seq: int) -> int:
            stamp = {"Producer_Id": "p", "Producer_Epoch": "0", "Producer_Seq": str(seq)}
            return ask(
                gateway.port, "POST", stream, f"{seq},".encode(), content_type="text/plain", **stamp
            ).status

        assert ask(gateway.port, "PUT", stream, content_type="text/plain").status == 201
        assert post(0) == 200
        group.await_in_sync()
        group.cut_replication()
        assert [post(1), post(1)] == [503, 503]
        group.mend_replication()
        wait_until(lambda: post(1) == 204, "a replica to have it", gateway.output)
        lost = group.primary()
        lost.kill()
        group.await_failover(lost)
        wait_until(
            lambda: ask(gateway.port, "GET", stream).status == 200, "the others", gateway.output
        )
        assert ask(gateway.port, "GET", stream).body == b"0,1,"
