"""A full, failing or slow disk: what is refused is gone, what is acknowledged is kept."""

from __future__ import annotations

import asyncio
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LogUnavailable
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.logs.sqlite.reserve import FULL, RESERVE_BYTES, Reserve
from tests.faults import disk
from tests.faults.disk import FaultyDisk, append, append_at_once, assert_refused, content, create
from tests.faults.ledger import Faults, Ledger
from tests.logs.contract import created, removed
from tests.support.examples import cases
from tests.support.http1 import Wire, ask
from tests.support.processes import Headgate, headgate
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

APPENDS = 40
MOST_REFUSALS = 400
SLOW_S = 4.0
ROUNDS = 3
SMALL = 500
LEAST_ROOM = 500_000  # which a removal needs
PATIENCE_S = 10.0

FAULTS = ("sync-fails", "write-fails")


@pytest.fixture
def faults(processes: None, tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(tmp_path)


@pytest.fixture
def server(processes: None, tmp_path: Path, faults: FaultyDisk) -> Iterator[Headgate]:
    origin = f"file:{tmp_path / 'data'}"
    with headgate(origin, environment=faults.environment) as started:
        yield started


def _restart(server: Headgate) -> None:
    server.kill()
    server.start()


def _told(server: Headgate) -> list[tuple[str, str | None]]:
    """What it has logged of its log's troubles, each with its reason."""
    lines = map(json.loads, server.output().splitlines())
    return [
        (line["event"], line.get("reason"))
        for line in lines
        if line["event"] in {"log.failed", "log.recovered"}
    ]


def _free_bytes(server: Headgate) -> float:
    lines = ask(server.admin_port, "GET", "/metrics").body.decode().splitlines()
    (line,) = (it for it in lines if it.startswith("headgate_storage_free_bytes{"))
    return float(line.rpartition(" ")[2])


def _append_until_refused(server: Headgate, stream: str) -> None:
    """The WAL has room of its own, up to some 4 MB."""
    appends = (append(server, stream, b"x" * 40_000) for _ in range(1000))
    assert_refused([next(answer for answer in appends if answer.status != 204)])


@pytest.mark.usefixtures("processes")
def test_a_full_disk_refuses_appends_until_there_is_room(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path, "64m") as place, headgate(f"file:{place / 'data'}") as server:
        create(server, "log", b"first ")
        ballast = disk.fill(place)
        bodies = [bytes([65 + number]) * 40_000 for number in range(disk.WRITERS)]
        refused = append_at_once(server, "log", bodies)
        assert_refused(refused)
        details = {json.loads(answer.body)["detail"] for answer in refused}
        assert details == {"the disk is full: nothing of this request was stored"}
        wait_until(lambda: _free_bytes(server) == 0, "the metric follows the disk")
        assert content(server, "log") == b"first "
        ready = ask(server.admin_port, "GET", "/readyz")
        assert (ready.status, ready.json()["status"]) == (200, "degraded")
        assert "the disk is full" in ready.json()["checks"]["log /v1/stream"]
        ballast.unlink()
        assert append(server, "log", b"second ").status == 204
        assert ask(server.admin_port, "GET", "/readyz").json()["status"] == "ready"
        assert _told(server) == [
            ("log.failed", "the log cannot be written: the disk is full"),
            ("log.recovered", None),
        ]
        assert content(server, "log") == b"first second "
        _restart(server)
        assert content(server, "log") == b"first second "


@pytest.mark.usefixtures("processes")
def test_a_start_without_room_for_appends_is_logged_and_so_is_its_end(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path, "64m") as place, headgate(f"file:{place / 'data'}") as server:
        server.kill()
        (place / "data" / "headgate.reserve").unlink()
        ballast = disk.fill(place)
        os.truncate(ballast, ballast.stat().st_size - RESERVE_BYTES)
        with ThreadPoolExecutor(1) as pool:
            starting = pool.submit(server.start)
            wait_until(lambda: bool(_told(server)), "the failure to be logged", server.output)
            ballast.unlink()
            starting.result()
        wait_until(lambda: len(_told(server)) > 1, "its end to be logged", server.output)
        assert _told(server) == [("log.failed", FULL), ("log.recovered", None)]


@pytest.mark.usefixtures("processes")
def test_a_full_disk_accepts_deletions_until_there_is_room(tmp_path: Path) -> None:
    streams = [f"s{number}" for number in range(60)]
    with disk.small_disk(tmp_path, "96m") as place, headgate(f"file:{place / 'data'}") as server:
        for name in streams:
            create(server, name, b"x" * 500_000)
        reserve = place / "data" / "headgate.reserve"
        assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
        disk.fill(place)
        _append_until_refused(server, "s0")
        deleted = 0
        while append(server, streams[-1], b"more").status == 503:
            answer = ask(server.port, "DELETE", f"/v1/stream/{streams[deleted]}")
            assert answer.status == 204, (deleted, answer)
            deleted += 1
            assert deleted < len(streams)
            time.sleep(0.05)
        assert 0 < deleted < len(streams)
        assert reserve.stat().st_blocks * 512 >= RESERVE_BYTES
        assert ask(server.admin_port, "GET", "/readyz").status == 200
        _restart(server)
        for name in streams[:deleted]:
            assert ask(server.port, "GET", f"/v1/stream/{name}").status == 404
        for name in streams[deleted:-1]:
            assert content(server, name) == b"x" * 500_000
        assert content(server, streams[-1]) == b"x" * 500_000 + b"more"


@pytest.mark.usefixtures("processes")
def test_a_full_disk_accepts_the_deletion_of_every_small_stream(tmp_path: Path) -> None:
    """What they free is less than what they write: the reserve must not run out."""
    with disk.small_disk(tmp_path, "64m") as place, headgate(f"file:{place / 'data'}") as server:
        create(server, "log", b"first ")
        for number in range(SMALL):
            create(server, f"s{number}", b"small")
        ballast = disk.fill(place)
        _append_until_refused(server, "log")
        for number in range(SMALL):
            assert ask(server.port, "DELETE", f"/v1/stream/s{number}").status == 204
        ballast.unlink()
        assert append(server, "log", b"second ").status == 204
        assert ask(server.admin_port, "GET", "/readyz").status == 200


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("has_reserve", [True, False])
async def test_a_log_opens_on_a_full_disk_and_accepts_removals(
    has_reserve: bool, tmp_path: Path
) -> None:
    """As after a crash, and after a stop when somebody else took the room."""
    with disk.small_disk(tmp_path, "64m") as place:
        log = SqliteLog(place / "data")
        await log.open()
        first = [created(log, f"s{number}", b"x" * 100_000) for number in range(3)]
        await log.commit(first)
        await log.close()
        if has_reserve:
            assert Reserve(place / "data" / "headgate.reserve").make()
        ballast = disk.fill(place)
        os.truncate(ballast, ballast.stat().st_size - LEAST_ROOM)
        log = SqliteLog(place / "data")
        await log.open()
        refused = created(log, "new", b"x" * (4 * LEAST_ROOM if has_reserve else 1))
        with pytest.raises(LogUnavailable):
            await log.commit([refused])
        assert log.why_unhealthy() is not None
        for change in first:
            await log.commit([removed(change.state)])
        ballast.unlink()
        await log.commit([refused])
        assert log.why_unhealthy() is None
        await log.close()
        assert not (place / "data" / "headgate.reserve").exists()


@pytest.mark.usefixtures("processes")
async def test_a_log_whose_folder_is_away_on_a_full_disk_refuses_commits_and_closes(
    tmp_path: Path,
) -> None:
    """Nobody can tell then whether there is room again."""
    with disk.small_disk(tmp_path, "24m") as place:
        folder, away = place / "data", place / "away"
        log = SqliteLog(folder)
        await log.open()
        assert log.why_unhealthy() is not None  # there is no room for the reserve
        folder.rename(away)
        for _ in range(2):
            with pytest.raises(LogUnavailable):
                async with asyncio.timeout(PATIENCE_S):
                    await log.commit([created(log, "s", b"x")])
        away.rename(folder)
        with pytest.raises(LogUnavailable):
            await log.commit([created(log, "s", b"x")])
        await log.close()


@pytest.mark.usefixtures("processes")
def test_a_full_disk_removes_expired_streams_until_there_is_room(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path, "96m") as place, headgate(f"file:{place / 'data'}") as server:
        create(server, "log", b"first ")
        for number in range(60):
            answer = ask(
                server.port,
                "PUT",
                f"/v1/stream/s{number}",
                b"x" * 500_000,
                content_type="text/plain",
                stream_ttl="4",
            )
            assert answer.status == 201
        disk.fill(place)
        _append_until_refused(server, "log")
        wait_until(lambda: append(server, "log", b"second ").status != 503, "room for an append")
        assert content(server, "log").endswith(b"second ")


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_failing_commit_refuses_its_whole_group(
    server: Headgate, faults: FaultyDisk, fault: str
) -> None:
    create(server, "log", b"first ")
    with faults.failing(fault):
        bodies = [f"refused {number} ".encode() for number in range(disk.WRITERS)]
        assert_refused(append_at_once(server, "log", bodies))
        assert_refused([ask(server.port, "PUT", "/v1/stream/new", content_type="text/plain")])
        assert_refused([ask(server.port, "DELETE", "/v1/stream/log")])
        assert content(server, "log") == b"first "
        assert ask(server.port, "GET", "/v1/stream/new").status == 404
    assert append(server, "log", b"second ").status == 204
    assert content(server, "log") == b"first second "
    _restart(server)
    assert content(server, "log") == b"first second "
    assert ask(server.port, "GET", "/v1/stream/new").status == 404


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("fault", cases(FAULTS, {"sync-fails"}, "the fault that comes last"))
@pytest.mark.parametrize("end", [Headgate.kill, Headgate.terminate], ids=["killed", "stopped"])
def test_a_server_ended_after_a_failed_commit_has_it_complete_or_not_at_all(
    server: Headgate, faults: FaultyDisk, fault: str, end: Callable[[Headgate], object]
) -> None:
    create(server, "log", b"first ")
    with faults.failing(fault):
        assert_refused([append(server, "log", b"refused ")])
        end(server)
    server.start()
    kept = content(server, "log")
    assert kept in {b"first ", b"first refused "}
    assert append(server, "log", b"second ").status == 204
    _restart(server)
    assert content(server, "log") == kept + b"second "


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize(("fault", "every"), [("sync-fails", 5), ("write-fails", 199)])
def test_appends_repeated_after_disk_faults_are_each_stored_exactly_once(
    server: Headgate, faults: FaultyDisk, fault: str, every: int
) -> None:
    ledgers = [Ledger(f"log{number}", is_json=False, closes_after=0) for number in range(4)]
    for ledger in ledgers:
        create(server, ledger.name)

    def write(writer: int) -> int:
        """Appends, each repeated until it is taken; returns how often one was refused."""
        ledger = ledgers[writer % len(ledgers)]
        ledger.acked[writer] = 0
        with Wire(server.port) as wire:
            for attempt in range(APPENDS + MOST_REFUSALS):
                number = ledger.acked[writer]
                if number == APPENDS:
                    return attempt - APPENDS
                answer = wire.request(
                    "POST",
                    f"/v1/stream/{ledger.name}",
                    ledger.body(writer, number),
                    content_type="text/plain",
                    producer_id=f"writer-{writer}",
                    producer_epoch="0",
                    producer_seq=str(number),
                )
                assert answer.status in {200, 503}, answer
                ledger.acked[writer] += answer.status == 200
        raise AssertionError(f"writer {writer} was refused {MOST_REFUSALS} times")

    with faults.failing(fault, every), ThreadPoolExecutor(disk.WRITERS) as pool:
        refused = sum(pool.map(write, range(disk.WRITERS)))
    assert refused > 0
    for _ in range(2):
        for ledger in ledgers:
            assert ledger.check(ledger.split(content(server, ledger.name)))[1] == Faults()
        _restart(server)


def test_a_slow_disk_delays_appends_and_no_other_request(
    server: Headgate, faults: FaultyDisk
) -> None:
    create(server, "log", b"first ")
    create(server, "other", b"content")
    with faults.slow(int(1000 * SLOW_S)), ThreadPoolExecutor(1) as pool:
        began = time.monotonic()
        slow = pool.submit(append, server, "log", b"second ")
        rounds = 0
        while not slow.done():
            assert ask(server.port, "GET", "/v1/stream/other").status == 200
            assert ask(server.port, "GET", "/v1/stream/log").status == 200
            assert ask(server.admin_port, "GET", "/healthz").status == 200
            rounds += 1
            time.sleep(0.02)  # to ask all the time would show no more
        assert slow.result().status == 204
        assert time.monotonic() - began >= SLOW_S
    # What waits for the disk waits for as long as the append does: once.
    assert rounds >= ROUNDS
