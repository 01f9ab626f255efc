"""A herd that reads what is not there: few questions answer all of it."""

from __future__ import annotations

import asyncio

from tests.streams.service import Service
from tests.streams.shared_log import SharedLog
from tests.support.gated_log import turns

HERD = 500
# One is under way when the others come, which may not count; all of them share the next.
MOST_LOADS = 3


async def test_a_herd_of_reads_of_an_absent_stream_causes_few_loads() -> None:
    log = SharedLog()
    table = Service(log).table
    log.loads.clear()
    first = asyncio.create_task(table.load("absent"))
    await turns()
    herd = [asyncio.create_task(table.load("absent")) for _ in range(HERD)]
    await turns()
    log.loads.set()
    found = await asyncio.gather(first, *herd)
    assert all(active.absent for active in found)
    assert log.loaded <= MOST_LOADS


async def test_a_continuous_herd_of_reads_does_not_delay_its_first_reader() -> None:
    log = SharedLog()
    table = Service(log).table
    first = asyncio.create_task(table.load("absent"))
    coming = []
    while not first.done():
        coming.append(asyncio.create_task(table.load("absent")))
        assert len(coming) < HERD, "those who came later were answered first"
        await asyncio.sleep(0)
    await asyncio.gather(*coming)
    assert log.loaded <= len(coming)


async def test_readers_of_a_herd_that_arrive_after_the_creation_see_the_stream() -> None:
    log = SharedLog()
    service, other = Service(log), Service(SharedLog(log))
    log.loads.clear()
    early = [asyncio.create_task(service.table.load("s")) for _ in range(HERD)]
    await turns()
    await other.create("s", b"data")
    late = [asyncio.create_task(service.table.load("s")) for _ in range(HERD)]
    await turns()
    log.loads.set()
    assert all(active.state is not None for active in await asyncio.gather(*late))
    await asyncio.gather(*early)
    assert log.loaded <= MOST_LOADS
