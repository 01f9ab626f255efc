"""A Redis in another history is compared with what it had acknowledged here before."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import msgspec
import pytest

from headgate_gateway.logs.redis import losses
from headgate_gateway.logs.redis.losses import LOST, LastCommit
from headgate_gateway.logs.redis.replies import CommitState
from headgate_gateway.protocol.streams.state import PastGeneration, StreamState
from tests.logs.contract import appended, committed, created, removed
from tests.logs.redis_logs import connected, stood, with_a_stream
from tests.support.log_lines import capture_logs
from tests.support.redis_servers import redis_server
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from headgate_gateway.logs.redis.log import RedisLog
    from headgate_gateway.logs.redis.losses import Lost
    from tests.support.redis_servers import RedisServer

REPORTS = {"log.nothing_lost", "log.loss_unknown", "log.writes_lost"}
IN_A_FILE = {"appendonly": "yes", "appendfsync": "always"}
IN_A_SNAPSHOT = {"save": "3600 1"}  # which SIGTERM writes, too


def counts(log: RedisLog) -> dict[Lost, float]:
    numbers = log.numbers()
    return {lost: numbers[f"histories_{lost}"] for lost in LOST}


async def found(log: RedisLog) -> list[Lost]:
    """Wait for the result of a comparison, and return all."""
    await until(lambda: sum(counts(log).values()) > 0)
    return [lost for lost, count in counts(log).items() for _ in range(int(count))]


@contextlib.asynccontextmanager
async def crashing(server: RedisServer) -> AsyncIterator[None]:
    """Let Redis crash at the end of the block, and start with its earlier files."""
    await asyncio.to_thread(server.command, "SAVE")
    yield
    await asyncio.to_thread(server.restart)


async def restart_as_planned(server: RedisServer) -> None:
    await asyncio.to_thread(server.stop)
    await asyncio.to_thread(server.start)


@pytest.mark.usefixtures("processes")
@pytest.mark.parametrize("appends", [0, 8])
@pytest.mark.parametrize("kept", [IN_A_FILE, IN_A_SNAPSHOT], ids=["file", "snapshot"])
async def test_a_planned_restart_with_persistence_is_reported_as_no_loss(
    kept: dict[str, str], appends: int, tmp_path: Path
) -> None:
    async with with_a_stream(tmp_path, **kept) as (server, log, _):
        await restart_as_planned(server)
        if appends:
            await until(lambda: log.why_unhealthy() is None)
        for _ in range(appends):
            await log.commit([appended(await stood(log), b"new")])
        assert await found(log) == ["no"]


@pytest.mark.usefixtures("processes")
async def test_a_crash_without_lost_data_reports_no_loss(tmp_path: Path) -> None:
    async with with_a_stream(tmp_path) as (server, log, change):
        await log.commit([appended(change.state, b"two")])
        async with crashing(server):
            pass
        assert await found(log) == ["no"]


@pytest.mark.usefixtures("processes")
async def test_a_removal_lost_in_a_crash_is_reported_and_noted_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with with_a_stream(tmp_path) as (server, log, change):
        async with crashing(server):
            await log.commit([removed(change.state)])
        assert await found(log) == ["yes"]
        loss = log.loss()
        assert loss is not None
        assert "lacks the last writes" in loss.sentence
        monkeypatch.setattr(losses, "SHOWN_S", 0.0)
        assert log.loss() is None


@pytest.mark.usefixtures("processes")
async def test_later_changes_by_another_gateway_do_not_count_as_a_loss(tmp_path: Path) -> None:
    with redis_server(tmp_path, **IN_A_FILE) as server:
        async with connected(server.url) as log, connected(server.url) as other:
            await log.commit([created(log, "s", b"one")])
            later = await committed(other, appended(await stood(other), b"two"))
            await other.commit([removed(later.state)])
            await restart_as_planned(server)
            assert (await found(log), await found(other)) == (["no"], ["no"])


@pytest.mark.usefixtures("processes")
async def test_appends_after_a_crash_do_not_hide_a_loss_before_it(tmp_path: Path) -> None:
    """The gateway appends more than a stream remembers of its commits before it looks at Redis."""
    async with with_a_stream(tmp_path) as (server, log, change):
        async with crashing(server):
            await log.commit([appended(change.state, b"two")])
        await until(lambda: log.why_unhealthy() is None)
        for _ in range(8):
            await log.commit([appended(await stood(log), b"new")])
        assert await found(log) == ["yes"]


@pytest.mark.usefixtures("processes")
async def test_each_gateway_reports_what_it_has_found_itself(tmp_path: Path) -> None:
    """One stores nothing, one what is in the snapshot, and the third what is lost."""
    with redis_server(tmp_path) as server, capture_logs() as lines:
        async with (
            connected(server.url) as idle,
            connected(server.url) as kept,
            connected(server.url) as late,
        ):
            await kept.commit([created(kept, "s", b"one")])
            async with crashing(server):
                await late.commit([created(late, "t", b"two")])
            reports = [await found(log) for log in (idle, kept, late)]
            assert reports == [["unknown"], ["no"], ["yes"]]
        logged = [it["event"] for it in lines if it["event"] in REPORTS]
        assert sorted(logged) == sorted(REPORTS)


@pytest.mark.usefixtures("processes")
async def test_each_restart_is_checked_against_commits_since_the_last_one(tmp_path: Path) -> None:
    with redis_server(tmp_path, **IN_A_FILE) as server:
        async with connected(server.url) as log:
            for number in range(1, 4):
                history = (await log.load("-")).path_state.history
                await log.commit([created(log, f"s{number}", b"one", history=history)])
                await restart_as_planned(server)
                await until(lambda number=number: sum(counts(log).values()) == number)  # type: ignore[misc] # bound
            assert await found(log) == ["no"] * 3


# ---------------------------------------------------------------- what stands where


MADE = StreamState(
    "s", stream_id=5, generation=105, content_type="a/b", version=3, tail=30, history=100
)
LAST = LastCommit(MADE, version=3, token=7)
replace = msgspec.structs.replace


def raised_at(end: int, **fields: int) -> StreamState:
    """Return the stream as somebody else has extended it from `end` on, in a later history."""
    past = (PastGeneration(105, end),)
    return replace(MADE, generation=205, history=200, past_generations=past, **fields)


def stands(
    state: StreamState | None, *tokens: bytes, removed: tuple[int, int] = (-1, -1)
) -> CommitState:
    """Return what stands at a path: a stream, its last writes, and what was removed there."""
    return CommitState(state, [*tokens], *removed)


def anew(generation: int) -> StreamState:
    return replace(MADE, stream_id=6, generation=generation)


STANDS: dict[str, tuple[CommitState, Lost]] = {
    "its-stamp-is-there": (stands(MADE, b"8", b"7"), "no"),
    "the-log-was-raised-to-its-tail": (stands(raised_at(30), b"7"), "no"),
    # Without its token: as many gateways as a stream remembers have written since, or nobody.
    "a-later-version": (stands(replace(MADE, version=4)), "no"),
    "an-earlier-version": (stands(replace(MADE, version=2, tail=20), b"6"), "yes"),
    "raised-below-its-tail": (stands(raised_at(20, version=9)), "yes"),
    "raised-to-its-tail-in-a-later-version": (stands(raised_at(30, version=9)), "unknown"),
    # Without the stream: never created, removed after the commit, or perhaps before it.
    "no-stream": (stands(None), "yes"),
    "no-stream-and-an-older-creation": (stands(None, removed=(99, 8)), "yes"),
    "deleted-after-the-commit": (stands(None, removed=(105, 4)), "no"),
    "deleted-by-the-commit": (stands(None, removed=(105, 3)), "no"),
    "deleted-in-a-later-generation": (stands(None, removed=(205, 4)), "unknown"),
    "recreated-after-the-commit": (stands(anew(106), removed=(105, 4)), "no"),
    "recreated-in-a-later-generation": (stands(anew(206), removed=(205, 1)), "unknown"),
}


@pytest.mark.parametrize(("found", "lost"), STANDS.values(), ids=STANDS)
def test_a_commit_counts_as_lost_by_the_state_at_its_path(found: CommitState, lost: Lost) -> None:
    assert LAST.is_lost(found) == lost


def test_a_removal_counts_as_lost_if_its_stream_exists() -> None:
    removal = LAST._replace(version=4)
    assert removal.is_lost(CommitState(MADE, [b"6"], -1, -1)) == "yes"
    assert removal.is_lost(CommitState(None, [b"7"], 105, 4)) == "no"
