"""Subscriptions of a gateway that is killed: nothing is forgotten, and nothing wakes for ever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from tests.subscriptions.campaign import Campaign
from tests.support.examples import IS_WHOLE
from tests.support.processes import Headgate

if TYPE_CHECKING:
    from pathlib import Path

KILLS = 100 if IS_WHOLE else 4
SEED = 17


@pytest.mark.timeout(1200)
def test_every_append_is_acknowledged_by_a_later_wake_though_the_gateway_is_killed(
    tmp_path: Path,
) -> None:
    server = Headgate(f"file:{tmp_path}")
    campaign = Campaign(server, SEED)
    try:
        asyncio.run(campaign.run(KILLS))
    finally:
        server.kill()
    assert campaign.faults == []
    assert campaign.appends >= 10 * KILLS
    assert campaign.claims >= KILLS
    assert campaign.stale >= KILLS
    assert "Traceback" not in server.output()
