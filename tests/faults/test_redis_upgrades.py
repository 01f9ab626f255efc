"""A rolling upgrade: gateways of two versions on one Redis, which goes on or restarts meanwhile."""

from __future__ import annotations

import json
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from tests.faults.disk import append, content, create
from tests.faults.redis_gateway import (
    append_until_taken,
    assert_degraded,
    assert_not_ready,
    await_ready,
    redis_gateway,
)
from tests.support.processes import ROOT, Headgate
from tests.support.redis_servers import redis_server
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.redis_servers import RedisServer

pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(120)]

DURABLE = {"appendonly": "yes", "appendfsync": "always"}
LOG = "log"


@pytest.fixture
def redis(processes: None, tmp_path: Path) -> Iterator[RedisServer]:
    with redis_server(tmp_path / "redis", **DURABLE) as server:
        yield server


@pytest.fixture
def next_version(tmp_path: Path) -> Path:
    """A program whose functions in Redis have another text, and so another name."""
    folder = tmp_path / "next"
    folder.mkdir()
    source = ROOT
    target = folder
    for part in ("gateway", "headgate_gateway", "logs", "redis"):
        for entry in source.iterdir():
            if not entry.name.startswith(".") and entry.name != part:
                (target / entry.name).symlink_to(entry)
        source, target = source / part, target / part
        target.mkdir()
    for entry in source.iterdir():
        if entry.name == "headgate.lua":
            (target / entry.name).write_text(entry.read_text() + "\n-- the next version\n")
        else:
            (target / entry.name).symlink_to(entry)
    program = folder / "program"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nsys.path.insert(0, {str(folder / 'gateway')!r})\n"
        "from headgate_gateway.entry import main\nsys.exit(main())\n"
    )
    program.chmod(0o700)
    return program


def told(gateways: list[Headgate]) -> list[Counter[str]]:
    """What each gateway logged of histories."""
    return [
        Counter({event: n for event, n in _events(gateway).items() if event in _OF_HISTORIES})
        for gateway in gateways
    ]


_OF_HISTORIES = {"log.history_changed", "log.nothing_lost", "log.loss_unknown", "log.writes_lost"}


def _events(gateway: Headgate) -> Counter[str]:
    lines = [line for line in gateway.output().splitlines() if line.startswith("{")]
    return Counter(json.loads(line)["event"] for line in lines)


def wait_for_probes(redis: RedisServer, count: int) -> None:
    """Wait until idle gateways have probed the server so often."""

    def calls() -> int:
        return int(redis.info("commandstats")["cmdstat_fcall"]["calls"])

    before = calls()
    wait_until(lambda: calls() >= before + count)


def test_a_rolling_upgrade_begins_no_history_and_a_restart_during_it_begins_one_for_all(
    redis: RedisServer, next_version: Path
) -> None:
    other_prefix = f"{redis.url}?prefix=other"
    newer = Headgate(redis.url, environment={"HEADGATE_LOG__FORMAT": "json"}, program=next_version)
    with redis_gateway(redis.url) as older, redis_gateway(other_prefix) as other:
        for gateway in (older, other):
            create(gateway, LOG)
            append(gateway, LOG, b"one")
        gateways = [older, other, newer]
        try:
            newer.start()
            offsets = set()
            for gateway in (newer, older, newer, older):
                answer = append(gateway, LOG, b"two")
                offsets.add(answer.next_offset.partition("_")[0])
            append(other, LOG, b"two")
            assert len(offsets) == 1
            wait_for_probes(redis, 3 * len(gateways))
            assert told(gateways) == [Counter()] * len(gateways)
            libraries = redis.command("FUNCTION", "LIST", "LIBRARYNAME", "headgate_*")
            assert len(libraries) >= 2
            redis.restart()
            wait_until(lambda: all(one["log.nothing_lost"] for one in told(gateways)))
            assert told(gateways) == [
                Counter({"log.history_changed": 1, "log.nothing_lost": 1}) for _ in gateways
            ]
            append(older, LOG, b"three")
            append(newer, LOG, b"four")
            assert told(gateways) == [
                Counter({"log.history_changed": 1, "log.nothing_lost": 1}) for _ in gateways
            ]
        finally:
            newer.close()


def test_gateways_of_two_versions_read_each_other_while_redis_lacks_replicas(
    redis: RedisServer, next_version: Path
) -> None:
    newer = Headgate(redis.url, environment={"HEADGATE_LOG__FORMAT": "json"}, program=next_version)
    with redis_gateway(redis.url) as older:
        create(older, LOG)
        append(older, LOG, b"one ")
        redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
        try:
            newer.spawn()
            assert_not_ready(newer, "fewer replicas", "cannot be read now")  # has no functions yet
            redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
            await_ready(newer)
            append_until_taken(newer, LOG, b"two ")
            redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
            for gateway in (older, newer):
                assert_degraded(gateway, "fewer replicas")
                assert content(gateway, LOG) == b"one two "
            redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
            append_until_taken(older, LOG, b"three ")
            append_until_taken(newer, LOG, b"four ")
            assert content(older, LOG) == content(newer, LOG) == b"one two three four "
        finally:
            newer.close()
