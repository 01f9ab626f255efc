"""Creation, forks and deletion on a log that other processes write to, in one commit or in two."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.errors import ConfigurationConflict, LogUnavailable, StreamNotFound
from headgate_gateway.logs.contract import Conflict
from headgate_gateway.protocol.streams.limits import Retention
from headgate_gateway.protocol.streams.state import Lifetime
from tests.streams.service import Service, two
from tests.streams.shared_log import SharedLog
from tests.support.gated_log import turns

if TYPE_CHECKING:
    from headgate_gateway.protocol.lifecycle import CreationOutcome

MINUTE = Lifetime(ttl_s=60)


def commits(log: SharedLog) -> list[list[str]]:
    """Whom each commit changed; a removal has a minus."""
    return [
        [("-" if change.removes else "") + change.state.path for change in changes]
        for changes in log.committed
    ]


async def references(service: Service, path: str) -> int:
    state = (await service.log.load(path)).path_state.state
    assert state is not None
    return state.references


async def standing(service: Service, paths: str) -> str:
    """Those of one-letter paths at which there is something."""
    return "".join(
        [path for path in paths if (await service.log.load(path)).path_state.state is not None]
    )


async def forking() -> tuple[Service, SharedLog, Service, asyncio.Task[CreationOutcome]]:
    """Begin a fork whose reference is on its way to the log; the fork itself comes after it."""
    service, log, other = two(apart=True)
    await service.create("s", b"past")
    log.commits.clear()
    task = asyncio.create_task(service.fork("f", "s"))
    await turns()
    return service, log, other, task


# ---------------------------------------------------------------- either way


@pytest.fixture(params=[False, True], ids=["together", "apart"])
def apart(request: pytest.FixtureRequest) -> bool:
    chosen: bool = request.param
    return chosen


async def test_simultaneous_creations_in_two_processes_create_one_stream(apart: bool) -> None:
    service, _, other = two(apart=apart)
    outcomes = await asyncio.gather(
        *[process.create("s") for process in (service, other, service, other)]
    )
    assert sorted(outcome.new for outcome in outcomes) == [False, False, False, True]
    assert len({outcome.state.stream_id for outcome in outcomes}) == 1


async def test_a_creation_is_confirmed_by_the_state_that_another_process_left(apart: bool) -> None:
    service, _, other = two(apart=apart)
    await service.create("s")
    await other.append("s", b"x", close=True)
    with pytest.raises(ConfigurationConflict):
        await service.create("s")
    confirmed = await service.create("s", close=True)
    assert (confirmed.new, confirmed.state.tail) == (False, 1)


async def test_a_fork_includes_data_appended_by_another_process(apart: bool) -> None:
    service, _, other = two(apart=apart)
    await service.create("s", b"one")
    await other.append("s", b"two")
    await service.fork("f", "s", b"!")
    assert await other.data("f") == b"onetwo!"
    assert await references(service, "s") == 1


async def test_simultaneous_forks_by_two_processes_are_all_references(apart: bool) -> None:
    service, _, other = two(apart=apart)
    await service.create("s", b"past")
    names = "abcdef"
    await asyncio.gather(
        *[(service, other)[number % 2].fork(name, "s") for number, name in enumerate(names)]
    )
    assert await references(service, "s") == len(names)
    await service.lifecycle.delete("s")
    await asyncio.gather(
        *[(service, other)[number % 2].lifecycle.delete(name) for number, name in enumerate(names)]
    )
    assert await standing(service, "s" + names) == ""


async def test_two_simultaneous_deletions_of_a_fork_release_its_source_once(apart: bool) -> None:
    service, _, other = two(apart=apart)
    await service.create("s", b"past")
    await service.fork("f", "s")
    await other.fork("g", "s")
    outcomes = await asyncio.gather(
        service.lifecycle.delete("f"), other.lifecycle.delete("f"), return_exceptions=True
    )
    assert sorted(map(type, outcomes), key=str) == [type(None), StreamNotFound]
    assert await references(service, "s") == 1


async def test_a_stream_swept_by_two_processes_at_once_expires_once(apart: bool) -> None:
    service, _, other = two(apart=apart)
    await service.create("s", b"past")
    await service.fork("f", "s", lifetime=MINUTE)
    await service.lifecycle.delete("s")
    service.clock.advance(60)
    await asyncio.gather(service.sweeper.round(), other.sweeper.round())
    assert await standing(service, "sf") == ""
    assert service.sweeper.expired + other.sweeper.expired == 1


# ---------------------------------------------------------------- in two commits


async def test_a_source_has_its_reference_before_the_fork_is_created_and_until_it_is_gone(
    apart: bool,
) -> None:
    service, log, _ = two(apart=apart)
    await service.create("s", b"past")
    await service.fork("f", "s")
    await service.lifecycle.delete("f")
    one_by_one = [["s"], ["s"], ["f"], ["-f"], ["s"]]
    assert commits(log) == (one_by_one if apart else [["s"], ["s", "f"], ["-f", "s"]])


async def test_a_chain_of_forks_is_removed_from_its_end() -> None:
    service, log, _ = two(apart=True)
    await service.create("0", b"0")
    for level in range(1, 4):
        await service.fork(str(level), str(level - 1))
    for level in range(3):
        await service.lifecycle.delete(str(level))
    log.committed.clear()
    await service.lifecycle.delete("3")
    assert commits(log) == [["-3"], ["-2"], ["-1"], ["-0"]]


async def test_a_fork_that_could_not_be_created_releases_its_source() -> None:
    """Between the two commits another process has created something else there."""
    service, log, other, task = await forking()
    await other.create("f")
    log.commits.set()
    with pytest.raises(ConfigurationConflict):
        await task
    assert await references(service, "s") == 0
    await service.lifecycle.delete("s")
    assert await standing(service, "s") == ""


@pytest.mark.parametrize("tells", [True, False])
async def test_a_fork_interrupted_by_a_new_history_leaves_two_references(tells: bool) -> None:
    """It may come true yet; so the reference stays, besides that of the fork that is made then."""
    service, log, _, task = await forking()
    log.tells = tells
    log.server.history += 1
    log.commits.set()
    assert (await task).new
    assert await references(service, "s") == 2


async def test_two_equal_forks_at_once_leave_one_reference() -> None:
    service, log, other, task = await forking()
    assert (await other.fork("f", "s")).new
    log.commits.set()
    assert not (await task).new
    assert await references(service, "s") == 1


async def test_the_release_of_a_source_is_repeated_until_it_is_stored() -> None:
    service, log, other = two(apart=True)
    await service.create("s", b"past")
    await service.fork("f", "s")
    log.commits.clear()
    deleting = asyncio.create_task(service.lifecycle.delete("f"))
    await turns()
    await other.append("s", b"more")
    await other.append("s", b"more")
    log.commits.set()
    await deleting
    assert await references(service, "s") == 0


async def test_a_fork_whose_commit_has_no_reply_keeps_its_reference() -> None:
    """The log could not say: one reference too many keeps data, one too few loses it."""
    _, log, other, task = await forking()
    log.forgets_answers.append(LogUnavailable("the log did not answer"))
    log.commits.set()
    with pytest.raises(LogUnavailable):
        await task
    assert await standing(other, "f") == "f"
    await other.lifecycle.delete("s")
    assert await other.data("f") == b"past"


async def test_a_fork_is_completed_although_its_client_disconnects_between_its_commits() -> None:
    service, log, _, task = await forking()
    task.cancel()
    await turns()
    log.commits.set()
    await turns(50)
    assert await service.data("f") == b"past"
    assert await references(service, "s") == 1


async def test_a_conflict_on_the_source_repeats_the_reference() -> None:
    service, log, _ = two(apart=True)
    await service.create("s", b"past")
    log.failures.append(Conflict())
    await service.fork("f", "s")
    assert commits(log) == [["s"], ["s"], ["s"], ["f"]]
    assert await references(service, "s") == 1


# ---------------------------------------------------------------- retention


KEPT = Retention(max_age_s=80)


@pytest.mark.parametrize("initial", [b"old", b""])
@pytest.mark.parametrize(("passed", "first"), [(79.9, 0), (80.0, 3)])
async def test_a_sweep_trims_an_idle_stream(passed: float, first: int, initial: bytes) -> None:
    log = SharedLog()
    service = Service(log, retention=KEPT)
    other = Service(SharedLog(log), service.clock)
    await service.create("s", initial)
    if not initial:
        await service.append("s", b"old")
    service.clock.advance(passed)
    await service.sweeper.round()
    assert service.sweeper.expired == 0
    state = (await other.table.load("s")).state
    assert state is not None
    assert (state.first, state.tail) == (first, 3)
    committed = len(log.committed)
    await service.sweeper.round()
    assert len(log.committed) == committed


async def test_a_sweep_of_a_fork_source_that_cannot_be_trimmed_commits_nothing() -> None:
    log = SharedLog()
    service = Service(log, retention=KEPT)
    await service.create("s", b"past")
    await service.append("s", b"more")
    await service.fork("f", "s")
    service.clock.advance(100)
    committed = len(log.committed)
    for _ in range(5):
        await service.sweeper.round()
        service.clock.advance(1)
    assert len(log.committed) == committed


async def test_a_stream_due_for_expiry_and_for_trimming_expires() -> None:
    log = SharedLog()
    service = Service(log, retention=KEPT)
    await service.create("s", lifetime=MINUTE)
    await service.append("s", b"old")
    service.clock.advance(80)
    await service.sweeper.round()
    assert (await standing(service, "s"), service.sweeper.expired) == ("", 1)
