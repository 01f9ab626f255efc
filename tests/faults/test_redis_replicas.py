"""A replica without which Redis takes no writes goes and comes: readers notice nothing."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.redis_replicas import go_and_come, replicated

if TYPE_CHECKING:
    from pathlib import Path

ROUNDS = 3
READERS = 40
SEED = 7


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(240)
def test_readers_notice_nothing_while_a_replica_goes_and_comes(tmp_path: Path) -> None:
    with replicated(tmp_path) as (primary, replica):
        report = asyncio.run(go_and_come(primary, replica, ROUNDS, SEED, READERS))
    print(report)  # noqa: T201 - the figures are what a run is for
    assert report.is_clean(), "\n".join([str(report), *report.faults.notes])
    assert report.rounds == ROUNDS
    assert report.refused_appends > 0
    assert report.reads > READERS
