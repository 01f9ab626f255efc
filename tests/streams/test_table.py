"""The table of hot streams: loads, its bound, and sliding windows."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import LogUnavailable, StreamNotFound
from headgate_gateway.protocol.requests import Append
from headgate_gateway.protocol.streams.offsets import format_offset
from headgate_gateway.protocol.streams.state import Lifetime, Stamp
from headgate_gateway.streams.clock import TOUCH_SHARE
from headgate_gateway.streams.outcomes import submitted
from tests.logs.contract import appended, created, removed
from tests.streams.readers import Readers
from tests.streams.service import Service, gated
from tests.support.gated_log import GatedLog, turns

if TYPE_CHECKING:
    from headgate_gateway.logs.contract import LoadedStream

MINUTE = Lifetime(ttl_s=60)
HUNDRED = Lifetime(ttl_s=100)


# ---------------------------------------------------------------- loading


async def test_simultaneous_loads_share_one_query_although_a_waiter_is_cancelled() -> None:
    service, log = await gated(b"a")
    service.table.reload("s")
    before = log.loaded
    log.loads.clear()
    first, *loads = [asyncio.create_task(service.table.load("s")) for _ in range(5)]
    await turns()
    first.cancel()
    await turns()
    log.loads.set()
    actives = await asyncio.gather(*loads)
    assert first.cancelled()
    assert log.loaded == before + 1
    assert {id(active) for active in actives} == {id(service.table.peek("s"))}
    assert actives[0].state is not None
    assert actives[0].state.tail == 1


class LateFailure(GatedLog):
    """A log that fails once the gate of its loads is open."""

    async def load(self, path: str) -> LoadedStream:
        await super().load(path)
        raise LogUnavailable("the log is away")


async def test_a_failed_load_that_every_waiter_has_left_complains_of_nothing() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, told: complaints.append(told))
    log = LateFailure()
    service = Service(log)
    log.loads.clear()
    waiting = asyncio.create_task(service.table.load("s"))
    await turns()
    waiting.cancel()
    await turns()
    log.loads.set()
    await turns()
    del waiting, service
    gc.collect()
    assert complaints == []


@pytest.mark.parametrize("is_removed", [False, True])
async def test_a_load_overtaken_by_a_commit_returns_the_state_after_it(is_removed: bool) -> None:
    log = GatedLog()
    service = Service(log)
    state = (await service.create("s", b"old")).state
    service.table.reload("s")
    log.loads.clear()
    loading = asyncio.create_task(service.table.load("s"))
    await turns()  # the old state was read, and is on its way
    change = removed(state) if is_removed else appended(state, b"new")
    await service.table.commits.commit([change])
    log.loads.set()
    active = await loading
    assert active.state == (None if is_removed else change.state)
    assert (active.retired, active.producers) == (0 if is_removed else None, {})


async def test_a_recreated_stream_has_none_of_the_producers_of_the_removed_one() -> None:
    """Streams forgotten after a conflict are loaded anew, or created anew: both begin clean."""
    service = Service(GatedLog())
    await service.create("s")
    await service.append("s", b"a", producer=Stamp("p", 5, 0))
    state = (await service.table.load("s")).state
    assert state is not None
    await service.log.commit([removed(state)])
    service.table.reload("s")
    await service.table.commits.commit([created(service.log, "s", generation=1)])
    active = await service.table.load("s")
    assert active.producers == (await service.log.load("s")).producers == {}


# ---------------------------------------------------------------- the bound


@pytest.mark.parametrize(("streams", "kept"), [(2, 2), (3, 3), (4, 3)])
async def test_the_table_is_bounded_and_evicts_the_oldest_stream(streams: int, kept: int) -> None:
    service = Service(GatedLog(), max_active=3)
    for number in range(streams):
        await service.create(f"s{number}")
    assert len(service.table) == kept
    assert (service.table.peek("s0") is None) == (streams > kept)


async def test_a_used_stream_stays_in_the_table_and_a_peek_does_not_count_as_use() -> None:
    service = Service(GatedLog(), max_active=3)
    for name in "abc":
        await service.create(name)
    service.table.get("a")
    service.table.peek("b")
    await service.create("d")
    assert [name for name in "abcd" if service.table.peek(name) is not None] == ["a", "c", "d"]


async def test_a_followed_stream_is_not_dropped_from_a_full_table() -> None:
    log = GatedLog()
    service = Service(log, max_active=1)
    await service.create("followed")
    followed = service.table.get("followed")
    followed.follower = Readers()
    log.commits.clear()
    creating = asyncio.create_task(service.create("other"))
    await turns()
    log.commits.set()
    await creating
    log.commits.clear()
    appending = service.submit("other", b"x")
    await turns()
    for number in range(3):
        service.table.get(f"passing{number}")
    assert service.table.peek("followed") is followed
    assert service.table.peek("other") is not None
    log.commits.set()
    await appending


# ---------------------------------------------------------------- sliding windows


async def test_a_sliding_ttl_counts_from_the_last_use() -> None:
    service = Service()
    await service.create("s", lifetime=MINUTE)
    for _ in range(5):
        service.clock.advance(59)
        await service.present("s")
        await turns()
    service.clock.advance(59)
    await service.append("s", b"x")
    service.clock.advance(59.999)
    await service.table.load("s")
    service.table.present(service.table.get("s"))
    service.clock.advance(0.001)
    with pytest.raises(StreamNotFound):
        service.table.present(service.table.get("s"))


async def test_a_fixed_deadline_stays_after_a_use_and_expires_the_stream() -> None:
    service = Service()
    at = service.clock() + 60
    await service.create("s", lifetime=Lifetime(expires_at=at, expires_text="then"))
    service.clock.advance(59)
    assert (await service.present("s")).deadline == at
    service.clock.advance(1)
    with pytest.raises(StreamNotFound):
        await service.present("s")


@pytest.mark.parametrize(
    ("ttl", "seconds", "written"),
    [(100, 10, False), (100, 10.1, True), (1000, 60, False), (1000, 60.1, True)],
)
async def test_a_deadline_is_written_after_it_moved_by_a_tenth_or_a_minute(
    ttl: int, seconds: float, written: bool
) -> None:
    service = Service()
    await service.create("s", lifetime=Lifetime(ttl_s=ttl))
    begun = service.clock()
    service.clock.advance(seconds)
    await service.present("s")
    await turns()
    state = (await service.log.load("s")).path_state.state
    assert state is not None
    assert state.deadline == (begun + seconds if written else begun) + ttl


async def test_live_readers_extend_the_ttl_of_a_stream() -> None:
    service = Service()
    await service.create("s", lifetime=MINUTE)
    active = service.table.get("s")
    readers = active.follower = Readers()
    service.clock.advance(600)
    assert service.table.present(active).deadline == service.clock() + 60
    readers.has_readers = False
    service.clock.advance(60)
    with pytest.raises(StreamNotFound):
        service.table.present(active)


async def use_and_restart(service: Service, *steps: float) -> Service:
    """Use a stream at moments, with a sweep after each, each by a process of its own."""
    for seconds in steps:
        service.clock.advance(seconds)
        await service.present("s")
        await service.sweeper.round()
        service = Service(service.log, service.clock)
    return service


@pytest.mark.parametrize(
    "steps",
    [
        (0.0,),
        (9.0,),
        (11.0,),
        (99.0,),
        (1.0, 19.0),
        (9.0, 9.0),
        (9.0, 9.0, 9.0),
        (5.0, 20.0, 20.0),
        (50.0, 50.0, 50.0),
    ],
    ids=str,
)
async def test_a_restart_never_shortens_a_sliding_ttl_nor_extends_it_past_its_bound(
    steps: tuple[float, ...],
) -> None:
    service = Service()
    await service.create("s", lifetime=HUNDRED)
    service = await use_and_restart(service, *steps)
    last_use = service.clock()
    service.clock.now = last_use + 99.9
    service.table.present(await service.table.load("s"))
    late = Service(service.log, service.clock)
    late.clock.now = last_use + 100 + 2 * (100 / TOUCH_SHARE + 1) + 0.1
    with pytest.raises(StreamNotFound):
        late.table.present(await late.table.load("s"))


async def test_a_stream_evicted_from_the_table_keeps_its_sliding_ttl() -> None:
    service = Service(max_active=1)
    await service.create("s", lifetime=HUNDRED)
    service.clock.advance(50)
    await service.present("s")
    await service.create("other")  # "s" makes room, before any sweep
    await service.sweeper.round()
    service.clock.advance(99)
    assert (await service.present("s")).path == "s"


# ---------------------------------------------------------------- followers and caches


async def test_followers_are_notified_of_each_commit_in_order_and_of_the_end() -> None:
    service = Service()
    stream = (await service.create("s")).state.stream_id
    readers = service.table.get("s").follower = Readers()
    for number in range(3):
        await service.append("s", b"%d" % number)
    await service.lifecycle.delete("s")
    assert (readers.news, readers.over) == ([(1, b"0"), (2, b"1"), (3, b"2")], 1)
    assert service.caches.dropped == [(stream, False)] * 4 + [(stream, True)]


async def test_caches_drop_all_chunks_of_a_soft_deleted_stream() -> None:
    service = Service()
    stream = (await service.create("s", b"a")).state.stream_id
    await service.fork("f", "s")
    service.caches.dropped.clear()
    await service.lifecycle.delete("s")
    assert service.caches.dropped == [(stream, True)]


async def test_the_table_and_followers_are_updated_before_the_writer_is_answered() -> None:
    service = Service()
    await service.create("s")
    readers = service.table.get("s").follower = Readers()
    heard: list[tuple[int, list[int], int]] = []
    append = Append(b"x", "text/plain", None, None, close=False)
    told = asyncio.Event()

    def done(outcome: object) -> None:
        state = service.table.get("s").state
        version = 0 if state is None else state.version
        heard.append((version, list(readers.heard), len(service.caches.dropped)))
        told.set()

    service.writes.submit("s", submitted(append, done))
    await told.wait()
    assert heard == [(1, [1], 2)]


async def test_an_append_whose_commit_failed_reaches_no_reader_and_gets_the_offset_again() -> None:
    service, log = await gated()
    readers = service.table.get("s").follower = Readers()
    log.failures.append(LogUnavailable("the disk is full"))
    with pytest.raises(LogUnavailable):
        await service.append("s", b"x")
    assert readers.heard == []
    assert len(service.caches.dropped) == 1
    assert (await service.append("s", b"y")).next_offset == format_offset(0, 1)
