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


FAILED = "log.failed"


def fail(failures: BeatFailures, error: Exception) -> None:
    """Note an error as the task of the beats does."""
    try:
        raise error  # noqa: TRY301 - as a beat does
    except Exception as raised:  # noqa: BLE001 - any is noted
        failures.note(raised)


@pytest.mark.usefixtures("processes")
async def test_an_owner_whose_redis_is_away_logs_the_reason_once_and_no_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with redis_server(tmp_path) as redis:
        async with subscribed(log_at(redis.url)) as gateway:
            assert shared(gateway).engine is not None
            capsys.readouterr()
            redis.kill()
            printed: list[str] = []

            def is_logged() -> bool:
                printed.append(capsys.readouterr().out)
                return FAILED in "".join(printed)

            await until(is_logged)
            await until(lambda: not shared(gateway).lease.is_certain)
            printed.append(capsys.readouterr().out)
            text = "".join(printed)
            assert text.count(FAILED) == 1
            assert "Connection refused" in text
            assert "subscription." not in text
            assert "Traceback" not in text


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
    capsys: pytest.CaptureFixture[str],
) -> None:
    failures = BeatFailures("/v1/stream")
    fail(failures, LogUnavailable("the log cannot be reached: Connection refused"))
    assert not capsys.readouterr().out
    for _ in range(3):
        fail(failures, KeyError("fault"))
    assert capsys.readouterr().out.count("Traceback") == 1
    failures.succeed()
    fail(failures, KeyError("fault"))
    assert capsys.readouterr().out.count("Traceback") == 1
