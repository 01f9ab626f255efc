"""Logs count how large their commits are and where the time goes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from headgate_gateway.logs.contract import Conflict
from headgate_gateway.logs.counts import APPENDS
from tests.logs.contract import appended, committed, created, kinds, opened, reclaimed, removed
from tests.logs.contract import kind as kind
from tests.support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from headgate_gateway.logs.contract import Log

PHASES = {
    "memory": {"appends"},
    "sqlite": {"appends", "queue", "write", "sync"},
    "redis": {"appends", "queue", "write"},
}


def observed(log: Log) -> dict[str, int]:
    """How many observations each has."""
    return {name: sum(it.counts) for name, it in log.histograms().items()}


@pytest.mark.parametrize("kind", kinds(PHASES), indirect=True)
async def test_each_commit_is_observed_once_in_each_phase(kind: str, tmp_path: Path) -> None:
    async with opened(kind, tmp_path) as log:
        assert observed(log) == dict.fromkeys(PHASES[kind], 0)
        change = await committed(log, created(log, "s", b"not an append"))
        assert observed(log) == {**dict.fromkeys(PHASES[kind], 1), "appends": 0}
        began = asyncio.get_running_loop().time()
        await log.commit([appended(change.state, b"a", b"b", b"c")])
        took = asyncio.get_running_loop().time() - began
        assert observed(log) == {**dict.fromkeys(PHASES[kind], 2), "appends": 1}
        assert log.histograms()["appends"].sum == 3
        assert log.histograms()["appends"].counts[APPENDS.index(5)] == 1
        with pytest.raises(Conflict):
            await log.commit([appended(change.state, b"d")])
        assert log.histograms()["appends"].sum == 3
        seconds = [it.sum for name, it in log.histograms().items() if name != "appends"]
        assert all(0 <= each < 60 for each in seconds)
        assert took > 0


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
async def test_the_number_of_streams_is_correct_after_creations_conflicts_and_removals(
    kind: str, tmp_path: Path
) -> None:
    async with opened(kind, tmp_path) as log:
        changes = [created(log, f"s{number}") for number in range(5)]
        for change in changes:
            await log.commit([change])
        with pytest.raises(Conflict):
            await log.commit([created(log, "s1")])
        brief = created(log, "brief")
        brief_commit = log.commit([brief])
        await asyncio.gather(brief_commit, log.commit([removed(brief.state)]))
        await log.commit([removed(changes[0].state)])
        await reclaimed(log)
        assert log.numbers()["streams"] == 4


async def test_a_reopened_data_file_reports_the_same_number_of_streams(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        await log.commit([created(log, "a"), created(log, "b")])
    async with opened("sqlite", tmp_path) as log:
        assert log.numbers()["streams"] == 2


async def test_the_metrics_of_a_data_file_have_its_size_and_the_free_space(tmp_path: Path) -> None:
    async with opened("sqlite", tmp_path) as log:
        before = log.numbers()["size_bytes"]
        await log.commit([created(log, "s", b"x" * 2_000_000)])
        await log.reclaim()
        files = [tmp_path / "headgate.db", tmp_path / "headgate.db-wal"]
        size = sum(it.stat().st_size for it in files)
        assert before < size
        await until(lambda: log.numbers()["size_bytes"] == size)
        assert log.numbers()["free_bytes"] > 0
