"""Kills in the middle of everything: what was acknowledged is there, once, where it was said."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.faults.ledger import Faults
from tests.faults.torture import torture
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("processes")

KILLS = 5
SEED = 20


def test_the_torture_checker_finds_a_log_that_forgets() -> None:
    server = Headgate("memory:")
    try:
        report = asyncio.run(torture(server, 1, SEED))
    finally:
        server.kill()
    assert report.faults.lost > 0


@pytest.mark.smoke
@pytest.mark.timeout(900)
def test_acknowledged_appends_survive_repeated_kills_of_the_server(tmp_path: Path) -> None:
    server = Headgate(f"file:{tmp_path}", environment={"HEADGATE_LIVE__LONG_POLL_TIMEOUT": "2"})
    try:
        report = asyncio.run(torture(server, KILLS, SEED))
    finally:
        server.kill()
    assert report.faults == Faults(), f"{report}\n{server.output()[-3000:]}"
    assert "log.torn" not in server.output()  # a kill loses nothing, and begins no history
    assert report.kills >= KILLS
    assert report.acked >= 10 * KILLS
    assert report.lifecycle_steps >= KILLS
    assert report.followed >= KILLS
