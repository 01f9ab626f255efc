"""A replica without which Redis takes no writes goes and comes, or takes over for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults import redis_replicas
from tests.faults.redis_replicas import go_and_come, replicated

if TYPE_CHECKING:
    from pathlib import Path

    from tests.faults.redis_replicas import Report

ROUNDS = 3
READERS = 40
SEED = 7


pytestmark = [pytest.mark.usefixtures("processes"), pytest.mark.timeout(240)]


def played(folder: Path) -> Report:
    with replicated(folder) as (primary, replica):
        report = asyncio.run(go_and_come(primary, replica, ROUNDS, SEED, READERS))
    print(report)  # noqa: T201 - the figures are what a run is for
    assert report.is_clean(), "\n".join([str(report), *report.faults.notes])
    return report


def test_readers_notice_nothing_while_a_replica_goes_and_comes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_replicas, "FAILOVER_SHARE", 0.0)
    report = played(tmp_path)
    assert report.rounds == ROUNDS
    assert report.refused_appends > 0
    assert report.reads > READERS


def test_a_primary_that_is_demoted_for_a_while_loses_nothing_and_serves_nothing_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_replicas, "FAILOVER_SHARE", 1.0)
    report = played(tmp_path)
    assert report.failovers == ROUNDS
    assert report.demoted_reads > 0
