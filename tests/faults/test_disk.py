"""A full, failing or slow disk: what is refused is gone, what is acknowledged is kept."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from tests.faults import disk
from tests.faults.disk import FaultyDisk, append, append_at_once, assert_refused, content, create
from tests.faults.ledger import Faults, Ledger
from tests.faults.wire import Wire, ask
from tests.support.processes import Headgate, headgate

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APPENDS = 40
MOST_REFUSALS = 400
SLOW_S = 4.0
ROUNDS = 3


@pytest.fixture
def faults(tmp_path: Path) -> FaultyDisk:
    return FaultyDisk(tmp_path)


@pytest.fixture
def server(tmp_path: Path, faults: FaultyDisk) -> Iterator[Headgate]:
    origin = f"file:{tmp_path / 'data'}"
    with headgate(origin, environment=faults.environment) as started:
        yield started


def _restart(server: Headgate) -> None:
    server.kill()
    server.start()


def test_full_disk_refuses_appends_and_takes_them_again_when_there_is_room(tmp_path: Path) -> None:
    with disk.small_disk(tmp_path, "16m") as place, headgate(f"file:{place / 'data'}") as server:
        create(server, "log", b"first ")
        ballast = disk.fill(place)
        bodies = [bytes([65 + number]) * 40_000 for number in range(disk.WRITERS)]
        assert_refused(append_at_once(server, "log", bodies))
        assert content(server, "log") == b"first "
        ballast.unlink()
        assert append(server, "log", b"second ").status == 204
        assert content(server, "log") == b"first second "
        _restart(server)
        assert content(server, "log") == b"first second "


@pytest.mark.parametrize("fault", ["sync-fails", "write-fails"])
def test_failing_commit_refuses_its_whole_group(
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


@pytest.mark.parametrize("fault", ["sync-fails", "write-fails"])
def test_crash_after_a_failed_commit_keeps_it_whole_or_not_at_all(
    server: Headgate, faults: FaultyDisk, fault: str
) -> None:
    create(server, "log", b"first ")
    with faults.failing(fault):
        assert_refused([append(server, "log", b"refused ")])
        server.kill()
    server.start()
    kept = content(server, "log")
    assert kept in {b"first ", b"first refused "}
    assert append(server, "log", b"second ").status == 204
    _restart(server)
    assert content(server, "log") == kept + b"second "


@pytest.mark.parametrize("fault", ["sync-fails", "write-fails"])
def test_orderly_stop_with_a_failing_disk_keeps_what_was_acknowledged(
    server: Headgate, faults: FaultyDisk, fault: str
) -> None:
    create(server, "log", b"first ")
    with faults.failing(fault):
        assert_refused([append(server, "log", b"refused ")])
        server.terminate()
    server.start()
    assert content(server, "log") in {b"first ", b"first refused "}


@pytest.mark.parametrize(("fault", "every"), [("sync-fails", 5), ("write-fails", 199)])
def test_writers_that_repeat_refused_appends_get_each_in_exactly_once(
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


def test_slow_disk_delays_appends_and_nothing_else(server: Headgate, faults: FaultyDisk) -> None:
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
        assert slow.result().status == 204
        assert time.monotonic() - began >= SLOW_S
    # What waits for the disk waits for as long as the append does: once.
    assert rounds >= ROUNDS
