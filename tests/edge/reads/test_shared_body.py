"""A body for several readers, each at its own pace."""

from __future__ import annotations

import asyncio

import pytest

from gateway.edge.reads.shared_response import AHEAD_BYTES, SLOW_S, FetchReader, SharedBody
from gateway.errors import OriginBroken
from tests.support import virtual_time
from tests.support.waiting import until


async def all_of(reader: FetchReader) -> list[bytes]:
    return [part async for part in reader.parts()]


@pytest.mark.parametrize(
    ("ahead", "waits"),
    [(AHEAD_BYTES - 1, False), (AHEAD_BYTES, False), (AHEAD_BYTES + 1, True)],
)
async def test_a_body_passed_on_waits_for_its_slowest_reader(ahead: int, waits: bool) -> None:
    fast, slow = FetchReader(), FetchReader()
    body = SharedBody({fast, slow})
    body.pass_on()
    body.add(b"x" * ahead)
    await anext(fast.parts())
    waiting = asyncio.create_task(body.wait_for_slowest())
    await asyncio.sleep(0)
    assert waiting.done() is not waits
    await anext(slow.parts())
    await waiting


async def test_a_body_does_not_wait_for_a_reader_that_left() -> None:
    stays, leaves = FetchReader(), FetchReader()
    body = SharedBody({stays, leaves})
    body.pass_on()
    body.add(b"x" * (AHEAD_BYTES + 1))
    await anext(stays.parts())
    waiting = asyncio.create_task(body.wait_for_slowest())
    await asyncio.sleep(0)
    assert not waiting.done()
    leaves.release()
    await until(waiting.done)
    stays.release()
    with pytest.raises(OriginBroken):
        await body.wait_for_slowest()


def test_a_reader_that_falls_behind_is_dropped_and_the_others_continue() -> None:
    virtual_time.run(one_does_not_keep_up())


async def one_does_not_keep_up() -> None:
    quick, stalled, late = FetchReader(), FetchReader(), FetchReader()
    body = SharedBody({quick, stalled, late})
    body.pass_on()
    reading = asyncio.create_task(all_of(quick))
    parts_of_late = late.parts()
    for _ in range(10):
        body.add(b"x" * (AHEAD_BYTES + 1))
        keeping_up = asyncio.create_task(body.wait_for_slowest())
        await asyncio.sleep(0.15 * SLOW_S)
        await anext(parts_of_late)  # behind each time, and yet it goes on
        await keeping_up
    body.end()
    assert len(b"".join(await reading)) == 10 * (AHEAD_BYTES + 1)
    assert (stalled.is_dropped, late.is_dropped) == (True, False)
    with pytest.raises(OriginBroken, match="could not wait"):
        await all_of(stalled)


async def test_a_body_waits_for_its_only_reader_without_a_limit() -> None:
    alone = FetchReader()
    body = SharedBody({alone})
    body.pass_on()
    body.add(b"x" * (AHEAD_BYTES + 1))
    waiting = asyncio.create_task(body.wait_for_slowest())
    await asyncio.sleep(0)
    assert not waiting.done()
    await anext(alone.parts())
    await waiting
    assert not alone.is_dropped
