"""A log at its quota: nothing that grows is stored, and everything else goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.counts import RECORD_BYTES, STREAM_BYTES
from headgate_gateway.logs.memory import MemoryLog
from headgate_gateway.logs.sqlite.log import SqliteLog
from headgate_gateway.telemetry.health import by_name
from tests.logs.contract import reclaimed
from tests.support.serving import PREFIX, Serving, get, post, put, request, serving, serving_with

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.contract import Log

QUOTA = 1 << 20
PIECE = b"x" * 64 * 1024


@pytest.fixture(params=["memory", "file"])
def log(request: pytest.FixtureRequest, tmp_path: Path) -> Log:
    if request.param == "memory":
        return MemoryLog(max_bytes=QUOTA)
    return SqliteLog(tmp_path, max_bytes=QUOTA)


async def filled(gateway: Serving) -> int:
    """Append until the log is full; return how many pieces it took."""
    assert (await gateway.ask(put("s"))).status == 201
    for number in range(1000):
        answer = await gateway.ask(post("s", PIECE))
        if answer.status != 204:
            answer.assert_problem(507, "max_storage_size", "delete streams")
            assert 61 <= int(answer.get("Retry-After") or 0) <= 63
            return number
    raise AssertionError("the log is never full")


def refused(gateway: Serving) -> list[float]:
    """Return the values of the metric of refusals by the quota."""
    return [one.number for one in gateway.route.samples() if one.values == ("max_storage_size",)]


async def test_a_log_in_memory_takes_bytes_up_to_its_quota_and_not_one_more() -> None:
    room = 2 * STREAM_BYTES + RECORD_BYTES + 10
    async with serving(MemoryLog(max_bytes=room)) as gateway:
        assert (await gateway.ask(put("s"))).status == 201
        assert (await gateway.ask(put("t"))).status == 201
        (await gateway.ask(post("s", b"x" * 11))).assert_problem(507)
        assert by_name(gateway.route.notes()).keys() == {f"quota {PREFIX}"}
        assert (await gateway.ask(post("s", b"x" * 10))).status == 204
        assert by_name(gateway.route.notes()).keys() == {f"quota {PREFIX}"}
        (await gateway.ask(put("u"))).assert_problem(507)
        assert refused(gateway) == [2]
        assert gateway.route.writes.figures.failed == 1


async def test_the_note_of_a_full_log_stays_until_there_is_more_room() -> None:
    log = MemoryLog(max_bytes=QUOTA)
    async with serving(log) as gateway:
        await filled(gateway)
        assert (await gateway.ask(put("t"))).status == 201
        assert by_name(gateway.route.notes()).keys() == {f"quota {PREFIX}"}
        log.quota.limit(2 * QUOTA)
        assert by_name(gateway.route.notes()) == {}


async def test_a_full_log_takes_neither_appends_nor_streams_and_all_else(log: Log) -> None:
    async with serving(log) as gateway:
        count = await filled(gateway)
        assert 8 <= count <= QUOTA // len(PIECE)
        (await gateway.ask(put("t", body=PIECE))).assert_problem(507)
        (await gateway.ask(put("f", f"Stream-Forked-From: {PREFIX}/s", body=PIECE))).assert_problem(
            507
        )
        assert len((await gateway.ask(get("s?offset=-1"))).body) >= 256 * 1024
        assert (await gateway.ask(post("s", b"", "Stream-Closed: true"))).status == 204
        (note,) = by_name(gateway.route.notes()).values()
        assert note is not None
        assert "max_storage_size" in note
        assert set(by_name(gateway.route.readiness()).values()) == {None}
        assert (await gateway.ask(request("DELETE", "s"))).status == 204
        await reclaimed(log)
        assert by_name(gateway.route.notes()) == {}
        assert await filled(gateway) >= count - 2


async def test_a_repeated_append_of_a_producer_is_confirmed_by_a_full_log(log: Log) -> None:
    async with serving(log) as gateway:
        producer = ("Producer-Id: p", "Producer-Epoch: 0", "Producer-Seq: 0")
        await gateway.ask(put("p"))
        assert (await gateway.ask(post("p", b"first", *producer))).status == 200
        await filled(gateway)
        assert (await gateway.ask(post("p", b"first", *producer))).status == 204


async def test_records_that_are_too_old_make_room_in_a_full_log() -> None:
    log = MemoryLog(max_bytes=QUOTA)
    async with serving(log, own={"retention_age": 80}) as gateway:
        count = await filled(gateway)
        gateway.clock.advance(80)
        gateway.elapsed.advance(80)
        await gateway.route.sweeper.round()
        assert by_name(gateway.route.notes()) == {}
        assert (await gateway.ask(request("DELETE", "s"))).status == 204
        assert await filled(gateway) == count
        assert log.quota.used <= QUOTA


async def test_a_full_log_takes_streams_again_once_its_records_are_too_old(log: Log) -> None:
    async with serving(log, own={"retention_age": 80}) as gateway:
        await filled(gateway)
        (await gateway.ask(put("t", body=PIECE))).assert_problem(507)
        for clock in (gateway.clock, gateway.elapsed):
            clock.advance(91)  # up to an eighth more than the age is kept
        await gateway.route.sweeper.round()
        await reclaimed(log)
        assert by_name(gateway.route.notes()) == {}
        assert (await gateway.ask(put("t", body=PIECE))).status == 201
        assert (await gateway.ask(post("s", PIECE))).status == 204


async def test_a_data_file_over_a_new_quota_is_full_from_the_start(tmp_path: Path) -> None:
    async with serving_with(put("s", body=PIECE), SqliteLog(tmp_path)):
        pass
    async with serving(SqliteLog(tmp_path, max_bytes=len(PIECE))) as gateway:
        (await gateway.ask(post("s", b"x"))).assert_problem(507)
        assert (await gateway.ask(get("s?offset=-1"))).body == PIECE
