"""The table on a log that other processes write to: what is remembered is confirmed, or told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.errors import LogUnavailable, StreamNotFound
from headgate_gateway.protocol.streams.state import Change, Lifetime, StreamState
from headgate_gateway.streams.clock import LEAST_MARGIN_S, MOST_MARGIN_S
from headgate_gateway.streams.follower import RELOAD_S
from headgate_gateway.streams.stream_loader import LINGER_S
from tests.logs.contract import appended, removed
from tests.streams.readers import Readers
from tests.streams.service import Service, two
from tests.support import virtual_time
from tests.support.gated_log import turns
from tests.support.waiting import until

if TYPE_CHECKING:
    from headgate_gateway.streams.active_stream import ActiveStream
    from tests.streams.shared_log import SharedLog

replace = msgspec.structs.replace
RESTARTED = 1_900_000_000_000_000  # a history later than any clock of these tests


async def stood(service: Service, path: str) -> StreamState:
    state = (await service.table.load(path)).state
    assert state is not None
    return state


def restart(log: SharedLog) -> None:
    """Let the server begin another history, and the process hear of it."""
    log.server.history = RESTARTED
    log.news.on_history_change()


def known(active: ActiveStream) -> StreamState:
    assert active.state is not None
    return active.state


# ---------------------------------------------------------------- loading


async def test_a_known_state_is_confirmed_and_not_loaded_again() -> None:
    service, log, _ = two()
    await service.create("s", b"a")
    asked = (log.loaded, log.confirmed)
    for _ in range(3):
        assert (await stood(service, "s")).tail == 1
    assert (log.loaded, log.confirmed) == (asked[0], asked[1] + 3)


async def test_changes_by_another_process_are_seen() -> None:
    service, _, other = two()
    await service.create("s", b"a")
    await other.append("s", b"b")
    assert (await stood(service, "s")).tail == 2
    await other.lifecycle.delete("s")
    with pytest.raises(StreamNotFound):
        await service.present("s")
    await other.create("s", b"new")
    assert (await service.data("s")) == b"new"


async def test_a_load_that_finds_a_change_drops_cached_chunks() -> None:
    service, _, other = two()
    stream = (await service.create("s", b"a")).state.stream_id
    await other.append("s", b"b")
    service.caches.dropped.clear()
    await stood(service, "s")
    assert service.caches.dropped == [(stream, False)]


@pytest.mark.parametrize("found", ["state", "absence", "confirmation"])
async def test_a_load_uses_no_answer_to_a_query_begun_before_it(found: str) -> None:
    service, log, other = two()
    if found != "absence":
        await (other if found == "state" else service).create("s", b"a")
    gate = log.confirms if found == "confirmation" else log.loads
    gate.clear()
    first = asyncio.create_task(service.table.load("s"))
    await turns()  # the answer is made, and on its way
    if found == "absence":
        await other.create("s", b"a")
    await other.append("s", b"b")
    second = asyncio.create_task(stood(service, "s"))
    await turns()
    gate.set()
    assert (await second).tail == 2
    await first


async def test_a_load_under_way_when_changes_were_missed_is_repeated() -> None:
    service, log, other = two()
    await other.create("s", b"a")
    log.loads.clear()
    loading = asyncio.create_task(stood(service, "s"))
    await turns()
    await other.append("s", b"b")
    log.news.on_missed_changes("s")
    log.loads.set()
    assert (await loading).tail == 2
    assert log.loaded == 2


async def test_a_failed_confirmation_does_not_drop_a_newer_known_state() -> None:
    """The old state is found to be old when its own commit has moved the stream on."""
    service, log, _ = two()
    change = appended((await service.create("s", b"a")).state, b"b")
    log.commits.clear()
    log.confirms.clear()
    committing = service.table.commits.commit([change])
    loading = asyncio.create_task(service.table.load("s"))
    await turns()  # the log has the change, and its answer is on its way
    log.commits.set()
    await committing
    asked = log.loaded
    log.confirms.set()
    assert known(await loading) == change.state
    assert log.loaded == asked


async def test_a_load_is_refused_while_the_log_is_unreachable() -> None:
    service, log, _ = two()
    await service.create("s", b"a")
    log.outages.append(LogUnavailable("the log is away"))
    with pytest.raises(LogUnavailable):
        await service.table.load("s")


# ---------------------------------------------------------------- lost races


async def test_a_state_from_a_conflict_is_adopted_and_its_stream_followed_for_a_while() -> None:
    service, log, other = two()
    await service.create("s", b"a")
    await other.append("s", b"b")
    active = service.table.get("s")
    assert not active.followed
    asked = log.loaded
    service.table.adopt("s", await log.load("s"))
    assert (known(active).tail, log.loaded, active.followed) == (2, asked + 1, True)
    service.table.adopt("s", None)
    assert (active.state, active.absent) == (None, False)


async def test_an_older_state_from_a_conflict_is_not_adopted() -> None:
    service, log, other = two()
    await service.create("s", b"a")
    await other.append("s", b"b")
    old = await log.load("s")
    await other.append("s", b"c")
    active = await service.table.load("s")
    service.table.adopt("s", old)
    assert known(active).tail == 3


async def test_an_older_state_from_a_conflict_does_not_undo_notifications() -> None:
    """A gap in the news is read when an older conflict is told: followers hear the latest."""
    service, log, other, active, readers = await foreign()
    await change_of(other, "s", b"b")
    old = await log.load("s")
    log.loads.clear()
    log.news.on_change(await change_of(other, "s", b"c"))  # what came before was not told
    await turns()
    service.table.adopt("s", old)
    log.loads.set()
    await turns()
    assert known(active).version == readers.heard[-1] == 2


# ---------------------------------------------------------------- news


async def followed(service: Service, path: str) -> tuple[ActiveStream, Readers]:
    active = await service.table.load(path)
    readers = Readers()
    active.follower = readers
    service.table.following.follow(active)
    service.caches.dropped.clear()
    return active, readers


async def foreign() -> tuple[Service, SharedLog, Service, ActiveStream, Readers]:
    """Have a process follow a stream that another one has created."""
    service, log, other = two()
    await other.create("s", b"a")
    return service, log, other, *await followed(service, "s")


async def change_of(other: Service, path: str, data: bytes) -> Change:
    """What another process commits."""
    change = appended(await stood(other, path), data)
    await other.table.commits.commit([change])
    return change


@pytest.mark.parametrize("trims", [False, True])
async def test_a_notification_is_applied_like_an_own_commit(trims: bool) -> None:
    service, log, other = two()
    stream = (await other.create("s", b"a")).state.stream_id
    active, readers = await followed(service, "s")
    asked = log.loaded
    change = appended(await stood(other, "s"), b"b", **({"first": 1} if trims else {}))
    await other.table.commits.commit([change])
    log.news.on_change(change)
    assert (active.state, readers.news) == (change.state, [(1, b"b")])
    assert service.caches.dropped == [(stream, trims)]
    assert log.loaded == asked


async def test_a_repeated_notification_is_ignored() -> None:
    _, log, other, active, readers = await foreign()
    first, second = [await change_of(other, "s", data) for data in (b"b", b"c")]
    for change in (first, second, first, second):
        log.news.on_change(change)
    assert (active.state, readers.heard) == (second.state, [1, 2])


@pytest.mark.parametrize("overtakes", [False, True])
async def test_a_notification_of_an_own_commit_is_delivered_once(overtakes: bool) -> None:
    service, log, _ = two()
    await service.create("s")
    active, readers = await followed(service, "s")
    if overtakes:
        log.commits.clear()
    change = appended(known(active), b"a")
    committing = service.table.commits.commit([change])
    if not overtakes:
        await committing
    log.news.on_change(change)
    assert readers.news == [(1, b"a")]
    log.commits.set()
    await committing
    assert (readers.news, active.state) == ([(1, b"a")], change.state)


@pytest.mark.parametrize("forgotten", [False, True])
async def test_a_commit_completed_after_a_restart_does_not_go_backwards(forgotten: bool) -> None:
    service, log, other = two()
    await service.create("s")
    active, readers = await followed(service, "s")
    log.commits.clear()
    committing = service.table.commits.commit([appended(known(active), b"a")])
    await turns()
    restart(log)
    change = await change_of(other, "s", b"b")
    log.news.on_change(change)
    await turns()
    assert (active.state, readers.heard) == (change.state, [1, 2])
    if forgotten:
        service.table.reload("s")
    log.commits.set()
    await committing
    await turns()
    assert known(active) == change.state
    assert (readers.heard, readers.heard[-1]) == (sorted(readers.heard), 2)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_removal_does_not_end_readers_of_the_next_stream(restarted: bool) -> None:
    service, log, other = two()
    await service.create("s", b"a")
    active, _ = await followed(service, "s")
    active.follower = None
    log.commits.clear()
    committing = service.table.commits.commit([removed(known(active))])
    await turns()
    if restarted:
        restart(log)
    else:
        log.news.on_removal("s", known(active).stream_id)
    state = (await other.create("s", b"new")).state
    active, readers = await followed(service, "s")
    log.commits.set()
    await committing
    await turns()
    assert (active.state, readers.over) == (state, 0)


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_late_creation_does_not_hide_later_changes(restarted: bool) -> None:
    service, log, other = two()
    await other.create("s", b"old")
    active, _ = await followed(service, "s")
    active.follower = None  # nobody waits, and the news go on for a while
    await other.lifecycle.delete("s")
    log.news.on_missed_changes("s")
    assert (await service.table.load("s")).absent
    log.commits.clear()
    creating = asyncio.create_task(service.create("s", b"a"))
    await turns()
    if restarted:
        restart(log)
    change = await change_of(other, "s", b"b")
    log.news.on_change(change)
    await turns()
    log.commits.set()
    await creating
    assert active.state in {None, change.state}
    assert await stood(service, "s") == change.state


@pytest.mark.parametrize("anew", [False, True])
async def test_a_late_creation_does_not_replace_a_later_loaded_state(anew: bool) -> None:
    service, log, other = two()
    log.commits.clear()
    creating = asyncio.create_task(service.create("s", b"a"))
    await turns()
    if anew:
        await other.lifecycle.delete("s")
        state = (await other.create("s", b"new")).state
    else:
        state = (await change_of(other, "s", b"b")).state
    active, readers = await followed(service, "s")
    assert active.state == state
    log.commits.set()
    await creating
    await turns()
    assert active.state == state
    assert all(version >= state.version for version in readers.heard)


async def test_a_late_append_does_not_restore_a_removed_stream() -> None:
    service, log, other = two()
    await service.create("s")
    active, readers = await followed(service, "s")
    log.commits.clear()
    appending = service.table.commits.commit([appended(known(active), b"a")])
    await turns()
    await other.lifecycle.delete("s")
    log.news.on_missed_changes("s")
    await turns()
    log.commits.set()
    await appending
    await turns()
    assert (active.state, active.absent, readers.heard) == (None, True, [])


@pytest.mark.parametrize("reason", ["a gap", "another history"])
async def test_a_notification_after_a_gap_or_a_restart_reloads_the_stream(reason: str) -> None:
    _, log, other, active, readers = await foreign()
    if reason == "a gap":
        await change_of(other, "s", b"b")
    else:
        log.server.history = RESTARTED
    change = await change_of(other, "s", b"c")
    log.news.on_change(change)
    assert active.state is None
    await turns()
    assert known(active) == change.state
    assert readers.news == [(change.state.version, b"")]


async def test_a_notification_of_a_new_stream_does_not_change_the_old_one() -> None:
    service, log, other = two()
    await other.create("s", b"old")
    active, readers = await followed(service, "s")
    await other.lifecycle.delete("s")
    state = (await other.create("s", b"new")).state
    log.news.on_change(Change(state, None))
    await turns()
    assert (active.state, readers.heard) == (state, [0])


async def test_a_notification_of_a_removal_closes_the_streams_readers() -> None:
    service, log, other = two()
    state = (await other.create("s", b"a")).state
    active, readers = await followed(service, "s")
    await other.lifecycle.delete("s")
    log.news.on_change(removed(state))
    assert (active.state, readers.over) == (None, 1)
    assert service.caches.dropped == [(state.stream_id, True)]


# ---------------------------------------------------------------- what was missed


async def test_followers_get_the_present_state_after_missed_notifications() -> None:
    _, log, other, active, readers = await foreign()
    change = await change_of(other, "s", b"b")
    log.news.on_missed_changes("s")
    await turns()
    assert (active.state, readers.news) == (change.state, [(1, b"")])


async def test_followers_are_ended_after_a_missed_removal() -> None:
    service, log, other = two()
    await other.create("s", b"a")
    _, readers = await followed(service, "s")
    await other.lifecycle.delete("s")
    log.news.on_missed_changes("s")
    await turns()
    assert (readers.heard, readers.over) == ([], 1)


async def test_an_unfollowed_stream_with_missed_changes_is_loaded_on_its_next_use() -> None:
    service, log, _ = two()
    await service.create("s", b"a")
    asked = log.loaded
    log.news.on_missed_changes("s")
    await turns()
    assert (service.table.get("s").state, log.loaded) == (None, asked)


def test_a_load_for_followers_is_repeated_while_the_log_is_unreachable() -> None:
    async def main() -> None:
        _, log, _, active, readers = await foreign()
        log.outages += [LogUnavailable("the log is away")] * 3
        log.news.on_missed_changes("s")
        begun = asyncio.get_running_loop().time()
        await until(lambda: bool(readers.heard))
        assert asyncio.get_running_loop().time() - begun == pytest.approx(3 * RELOAD_S, abs=0.05)
        assert known(active).tail == 1

    virtual_time.run(main())


async def test_a_removal_drops_cached_chunks_of_an_unused_stream() -> None:
    service, log, _ = two()
    log.news.on_removal("s", 4711)
    assert (service.caches.dropped, len(service.table)) == ([(4711, True)], 0)


async def test_a_removal_ends_its_own_stream_and_not_the_next_one() -> None:
    service, log, other = two()
    old = (await other.create("s", b"old")).state
    active, readers = await followed(service, "s")
    await other.lifecycle.delete("s")
    log.news.on_removal("s", old.stream_id)
    assert active.state is None
    await turns()
    assert readers.over == 1
    new = (await other.create("s", b"new")).state
    await stood(service, "s")
    log.news.on_removal("s", old.stream_id)
    assert active.state == new


async def test_no_known_state_counts_after_a_change_of_history() -> None:
    service, log, other = two()
    await service.create("unused", b"a")
    state = (await other.create("s", b"a")).state
    active, readers = await followed(service, "s")
    restart(log)
    assert service.caches.cleared == 1
    assert [service.table.get(path).state for path in ("s", "unused")] == [None, None]
    await turns()
    assert known(active) == replace(
        state,
        generation=RESTARTED + state.stream_id % 10**6,
        history=RESTARTED,
        past_generations=known(active).past_generations,
    )
    assert known(active).offset(1) == state.offset(1)
    assert readers.news == [(0, b"")]
    assert service.table.get("unused").state is None


# ---------------------------------------------------------------- following


async def test_following_a_stream_three_times_subscribes_once() -> None:
    service, log, _ = two()
    await service.create("s")
    active = service.table.get("s")
    assert active.idle
    for _ in range(3):
        service.table.following.follow(active)
    assert (log.followed, active.idle) == (["+s"], False)


def test_a_stream_that_gets_a_reader_within_the_linger_time_stays_followed() -> None:
    async def main() -> None:
        service, log, _ = two()
        await service.create("s")
        active = service.table.get("s")
        service.table.following.follow(active)
        service.table.following.unfollow(active)
        await asyncio.sleep(LINGER_S / 2)
        service.table.following.follow(active)
        active.follower = Readers()
        await asyncio.sleep(LINGER_S)
        assert (log.followed, active.followed) == (["+s"], True)
        active.follower = None
        service.table.following.unfollow(active)
        await asyncio.sleep(LINGER_S + 0.1)
        assert log.followed == ["+s", "-s"]

    virtual_time.run(main())


# ---------------------------------------------------------------- sliding windows


@pytest.mark.parametrize(
    ("ttl", "margin"), [(1, LEAST_MARGIN_S), (20, 0.2), (100, MOST_MARGIN_S), (1000, MOST_MARGIN_S)]
)
async def test_a_sliding_deadline_gets_a_margin_and_is_written_once_per_margin(
    ttl: int, margin: float
) -> None:
    service, log, other = two()
    await service.create("s", lifetime=Lifetime(ttl_s=ttl))
    service.clock.advance(0.5)
    await service.present("s")
    await turns()
    deadline = service.clock() + ttl + margin
    assert (await stood(other, "s")).deadline == pytest.approx(deadline)
    committed = len(log.committed)
    service.clock.advance(margin * 0.9)
    await service.present("s")
    await turns()
    assert len(log.committed) == committed
    service.clock.advance(margin * 0.2)
    await service.present("s")
    await turns()
    assert len(log.committed) == committed + 1


async def test_a_use_in_any_process_extends_the_ttl_for_all() -> None:
    service, _, other = two()
    await service.create("s", lifetime=Lifetime(ttl_s=60))
    for process in (service, other) * 3:
        process.clock.advance(59)
        await process.present("s")
        await turns()
    service.clock.advance(60 + MOST_MARGIN_S)
    for process in (service, other):
        with pytest.raises(StreamNotFound):
            await process.present("s")


async def test_simultaneous_uses_write_the_deadline_once() -> None:
    service, log, other = two()
    await service.create("s", lifetime=Lifetime(ttl_s=60))
    await other.present("s")
    service.clock.advance(30)
    committed = len(log.committed)
    await asyncio.gather(*[process.present("s") for process in (service, other) * 5])
    await turns()
    assert len(log.committed) == committed + 1
    state = await stood(service, "s")
    assert state.version == 1
    assert state.deadline == pytest.approx(service.clock() + 60 + 0.6)


async def test_a_deadline_write_that_failed_is_repeated_at_the_next_use() -> None:
    service, log, other = two()
    await service.create("s", lifetime=Lifetime(ttl_s=60))
    service.clock.advance(30)
    log.failures.append(LogUnavailable("the log is away"))
    await service.present("s")
    await turns()
    assert (await stood(other, "s")).version == 0
    await service.present("s")
    await turns()
    assert (await stood(other, "s")).deadline == pytest.approx(service.clock() + 60.6)


async def test_a_stream_expires_by_a_shorter_deadline_that_another_process_wrote() -> None:
    """A shorter one too: what is written is what everybody goes by."""
    service, log, other = two()
    state = (await service.create("s", lifetime=Lifetime(ttl_s=60))).state
    active, _ = await followed(service, "s")
    active.follower = None
    change = appended(await stood(other, "s"), deadline=service.clock() + 5)
    await other.table.commits.commit([change])
    log.news.on_change(change)
    assert known(active).deadline == service.clock() + 5
    service.clock.advance(5)
    with pytest.raises(StreamNotFound):
        service.table.present(active)
    assert state.deadline == service.clock() + 55
