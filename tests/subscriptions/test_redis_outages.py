"""A Redis that goes away is logged in one line, whatever its subscriptions do meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.features.subscriptions.shared.subscriptions import BeatFailures
from tests.subscriptions.receivers import log_at, shared, subscribed, two
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.log_lines import Lines


FAILED = "log.failed"


def events(logged: Lines) -> list[str]:
    return [line["event"] for line in logged]


def tracebacks(logged: Lines) -> int:
    return sum("exc_info" in line for line in logged)


def fail(failures: BeatFailures, error: Exception) -> None:
    """Note an error as the task of the beats does."""
    try:
        raise error  # noqa: TRY301 - as a beat does
    except Exception as raised:  # noqa: BLE001 - any is noted
        failures.note(raised)


@pytest.mark.usefixtures("processes")
async def test_an_owner_whose_redis_is_away_logs_the_reason_once_and_no_traceback(
    tmp_path: Path, logged: Lines
) -> None:
    with redis_server(tmp_path) as redis:
        async with subscribed(log_at(redis.url)) as gateway:
            assert shared(gateway).engine is not None
            logged.clear()
            redis.kill()
            await until(lambda: FAILED in events(logged))
            await until(lambda: not shared(gateway).lease.is_certain)
            assert events(logged).count(FAILED) == 1
            assert "Connection refused" in str(logged)
            assert not [it for it in events(logged) if it.startswith("subscription.")]
            assert tracebacks(logged) == 0


@pytest.mark.usefixtures("processes")
async def test_requests_while_redis_is_away_are_told_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "headgate_gateway.features.subscriptions.shared.subscriptions.PATIENCE_S", 1.0
    )
    with redis_server(tmp_path) as redis:
        async with subscribed(log_at(redis.url)) as gateway:
            redis.kill()
            await until(lambda: not shared(gateway).lease.is_certain)
            status, told = await gateway.ask("GET", "s")
            assert status == 503
            assert told["detail"] == "the log cannot be reached: Connection refused"


@pytest.mark.usefixtures("processes")
async def test_an_owner_whose_redis_takes_no_writes_stays_the_owner_and_says_why(
    tmp_path: Path,
) -> None:
    pull = {"type": "pull-wake", "pattern": "a/*", "wake_stream": "wakes"}
    with redis_server(tmp_path) as redis:
        async with two(redis.url) as (owner, other):
            assert (await owner.put("s", **pull))[0] == 201
            leased = shared(owner).lease.owner
            redis.command("CONFIG", "SET", "min-replicas-to-write", "1")
            await until(lambda: not shared(owner).lease.is_certain)
            await until(lambda: not shared(other).lease.is_beating)
            assert (await owner.ask("GET", "s"))[0] == 200
            status, told = await owner.put("t", **pull)
            assert status == 503
            assert "fewer replicas than min-replicas-to-write" in told["detail"]
            redis.command("CONFIG", "SET", "min-replicas-to-write", "0")
            await until(lambda: shared(owner).lease.is_certain)
            await until(lambda: shared(other).lease.is_beating)
            assert (await owner.put("t", **pull))[0] == 201
            assert {shared(it).lease.owner for it in (owner, other)} == {leased}


async def test_a_fault_is_logged_with_its_traceback_once_until_a_beat_succeeds(
    logged: Lines,
) -> None:
    failures = BeatFailures("/v1/stream")
    fail(failures, LogUnavailable("the log cannot be reached: Connection refused"))
    assert logged == []
    for _ in range(3):
        fail(failures, KeyError("fault"))
    assert tracebacks(logged) == 1
    failures.succeed()
    fail(failures, KeyError("fault"))
    assert tracebacks(logged) == 2
