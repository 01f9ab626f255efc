"""How Redis is, as the metrics tell it: of a moment ago, and not at all when it is away."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.redis import log as redis_log
from headgate_gateway.logs.redis.connector import parse_info
from headgate_gateway.logs.redis.log import server_status
from tests.logs.contract import created
from tests.logs.redis_logs import connected
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

INFO = """# Replication\r
role:master\r
connected_slaves:2\r
min_slaves_good_slaves:2\r
slave0:ip=127.0.0.1,port=1,state=online,offset=70,lag=0\r
slave1:ip=127.0.0.1,port=2,state=online,offset=95,lag=1\r
master_repl_offset:100\r
# Persistence\r
aof_enabled:{enabled}\r
aof_last_bgrewrite_status:{rewrite}\r
aof_last_write_status:{write}\r
# Memory\r
used_memory:1234567\r
used_memory_human:1.18M\r
"""


def expected(*values: float) -> dict[str, float]:
    """The numbers in their order."""
    return dict(zip(redis_log.COMBINED, values, strict=True))


@pytest.mark.parametrize(
    ("enabled", "rewrite", "write", "is_enabled", "is_ok"),
    [
        ("1", "ok", "ok", True, True),
        ("0", "ok", "ok", False, True),
        ("1", "err", "ok", True, False),
        ("1", "ok", "err", True, False),
    ],
)
def test_the_info_reply_of_redis_is_parsed_into_numbers(
    enabled: str, rewrite: str, write: str, is_enabled: bool, is_ok: bool
) -> None:
    info = parse_info(INFO.format(enabled=enabled, rewrite=rewrite, write=write).encode())
    assert server_status(info, 0.5) == expected(2, 30, is_enabled, is_ok, 1234567, 0.5, True)


def test_an_empty_info_reply_gives_numbers_of_a_healthy_server() -> None:
    assert server_status({}, 0.5) == expected(0, 0, False, True, 0, 0.5, True)
    assert not server_status({"role": "slave"}, 0.5)["redis_primary"]


@pytest.mark.usefixtures("processes")
async def test_vitals_show_the_replica_and_the_append_only_file_until_redis_is_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "STATUS_S", 0.02)
    options = {"appendonly": "yes"}
    with redis_server(tmp_path / "a", **options) as server, redis_server(tmp_path / "b") as replica:
        async with connected(server.url) as log:
            await until(lambda: log.numbers().get("redis_aof_enabled") == 1)
            assert log.numbers()["redis_connected_replicas"] == 0
            replica.command("REPLICAOF", "127.0.0.1", server.port)
            await log.commit([created(log, "s", b"x" * 100_000)])
            await until(lambda: log.numbers().get("redis_connected_replicas") == 1)
            await until(lambda: log.numbers().get("redis_replica_lag_bytes") == 0)
            await until(lambda: log.numbers().get("streams") == 1)
            assert log.numbers()["redis_aof_ok"] == 1
            assert log.numbers()["redis_primary"] == 1
            assert log.numbers()["redis_memory_bytes"] > 500_000
            assert 0 < log.numbers()["redis_round_trip_seconds"] < 3
            replica.pause()
            try:
                await log.commit([created(log, "t", b"x" * 100_000)])
                await until(lambda: log.numbers().get("redis_replica_lag_bytes", 0) >= 100_000)
            finally:
                replica.resume()
            server.kill()
            await until(lambda: "redis_memory_bytes" not in log.numbers())
            assert log.numbers()["commits"] == 2
            server.start()
            await until(lambda: "redis_memory_bytes" in log.numbers())


@pytest.mark.usefixtures("processes")
async def test_a_demoted_primary_is_told_as_no_primary_until_it_is_one_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_log, "STATUS_S", 0.02)
    with redis_server(tmp_path / "a") as server, redis_server(tmp_path / "b") as other:
        async with connected(server.url) as log:
            await until(lambda: log.numbers().get("redis_primary") == 1)
            server.command("REPLICAOF", "127.0.0.1", other.port)
            await until(lambda: log.numbers().get("redis_primary") == 0)
            server.command("REPLICAOF", "NO", "ONE")
            await until(lambda: log.numbers().get("redis_primary") == 1)
