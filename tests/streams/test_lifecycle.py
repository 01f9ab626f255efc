"""Creation, forks, deletion and expiry on a log, with races."""

from __future__ import annotations

import asyncio

import pytest

from headgate_gateway.errors import BadRequest, ConfigurationConflict, StreamGone, StreamNotFound
from headgate_gateway.protocol.streams.state import Lifetime
from tests.streams.service import Service, gated
from tests.support.gated_log import GatedLog, turns

MINUTE = Lifetime(ttl_s=60)


async def test_a_creation_is_completed_although_its_client_disconnects() -> None:
    log = GatedLog()
    service = Service(log)
    log.commits.clear()
    creating = asyncio.create_task(service.create("s", b"a"))
    await turns()
    creating.cancel()
    log.commits.set()
    await turns()
    assert await service.data("s") == b"a"


async def test_a_fork_that_replaces_a_stream_is_reported_although_its_path_was_not_in_use() -> None:
    log = GatedLog()
    service = Service(log, max_active=2)
    for path in "sf":
        await service.create(path)
    await service.lifecycle.delete("f")
    observed: list[tuple[str, str]] = []
    service.table.removal_observers.append(
        lambda path, _, remover: observed.append((path, remover))
    )
    log.commits.clear()
    forking = asyncio.create_task(service.fork("f", "s"))
    await turns()
    for other in "xyz":
        service.table.get(other)
    assert service.table.peek("f") is None
    log.commits.set()
    await forking
    assert observed == [("f", "successor")]


@pytest.mark.parametrize(
    ("position", "sub_offset"), [(0, 4), (3, 4), (6, 1), (1, 0), (4, 1), (7, 0)]
)
async def test_a_fork_amid_a_record_or_past_all_is_refused(position: int, sub_offset: int) -> None:
    service = Service()
    await service.create("s", b"one")
    await service.append("s", b"two")
    with pytest.raises(BadRequest):
        await service.fork("f", "s", position=position, sub_offset=sub_offset)
    with pytest.raises(StreamNotFound):
        await service.data("f")


async def test_a_fork_during_an_append_has_one_consistent_state_of_its_source() -> None:
    log = GatedLog()
    service, other = Service(log), Service(log)
    await service.create("s", b"a")
    await service.fork("warm", "s")
    appending = [other.submit("s", b"b"), other.submit("s", b"c")]
    fork = await service.fork("f", "s")
    await asyncio.gather(*appending)
    assert await service.data("f") == b"abc"[: fork.state.tail]
    source = (await other.log.load("s")).path_state.state
    assert source is not None
    assert (source.references, await other.data("s")) == (2, b"abc")


async def test_an_expired_source_stays_until_its_fork_is_deleted() -> None:
    service = Service()
    await service.create("s", b"past", lifetime=MINUTE)
    await service.fork("f", "s", lifetime=Lifetime(ttl_s=6000))
    service.clock.advance(61)
    with pytest.raises(StreamGone):
        await service.present("s")
    await service.sweeper.round()
    state = (await service.log.load("s")).path_state.state
    assert state is not None
    assert (state.soft_deleted, state.deadline) == (True, None)
    assert await service.data("f") == b"past"
    await service.lifecycle.delete("f")
    assert (await service.log.load("s")).path_state.state is None


@pytest.mark.parametrize("position", [None, 2])
async def test_a_repeated_fork_of_a_source_deleted_since_is_confirmed(position: int | None) -> None:
    service = Service()
    await service.create("s", b"pa")
    await service.append("s", b"st")
    await service.fork("f", "s", position=position)
    await service.lifecycle.delete("s")
    again = await service.fork("f", "s", position=position)
    assert not again.new
    for path, other in (("f", 4), ("g", position)):
        with pytest.raises(ConfigurationConflict):
            await service.fork(path, "s", position=other)
    await service.lifecycle.delete("f")
    with pytest.raises(StreamNotFound):
        await service.fork("f", "s", position=position)


async def test_a_sweep_removes_expired_streams_and_spares_used_ones() -> None:
    service = Service()
    await service.create("over", lifetime=MINUTE)
    await service.create("used", lifetime=MINUTE)
    await service.create("forever")
    service.clock.advance(30)
    await service.present("used")
    service.clock.advance(31)
    await service.sweeper.round()
    found = [
        (await service.log.load(path)).path_state.state for path in ("over", "used", "forever")
    ]
    assert [state is not None for state in found] == [False, True, True]
    assert found[1] is not None
    assert found[1].deadline == service.clock() - 31 + 60
    service.clock.advance(30)
    await service.sweeper.round()
    assert (await service.log.load("used")).path_state.state is None


async def test_a_sweep_removes_expired_streams_that_this_process_never_loaded() -> None:
    log = GatedLog()
    first = Service(log)
    await first.create("s", lifetime=MINUTE)
    later = Service(log, first.clock)
    later.clock.advance(100)
    await later.sweeper.round()
    assert (await log.load("s")).path_state.state is None


async def test_deleting_a_fork_of_a_deleted_source_leaves_the_recreated_source_alone() -> None:
    """The fork's source is a stream, and not whatever stands at its path today."""
    service, _ = await gated(b"past")
    fork = await service.fork("f", "s")
    assert fork.state.fork is not None
    await service.lifecycle.delete("s")
    await service.lifecycle.delete("f")
    await service.create("s", b"new")
    await service.fork("f", "s")
    await service.lifecycle.delete("f")
    assert (await service.present("s")).references == 0
