"""Answers on each kind of log, while gateways are killed and clients are cut."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from tests.models.campaign import Campaign, PacedProvider
from tests.models.serving import gateway_before
from tests.support.examples import IS_WHOLE
from tests.support.redis_servers import redis_server

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.processes import Headgate

ANSWERS, KILLS, CUTS = (200, 50, 500) if IS_WHOLE else (24, 4, 40)
SEED = 1


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(600 if IS_WHOLE else 90)
@pytest.mark.parametrize("log", ["file", "redis"])
async def test_every_reader_ends_with_all_that_it_was_sent_whatever_is_killed_or_cut(
    log: str, tmp_path: Path
) -> None:
    async with PacedProvider(SEED).serving() as provider:
        with contextlib.ExitStack() as stack:
            gateways: list[Headgate] = []
            if log == "redis":
                origin = stack.enter_context(redis_server(tmp_path / "redis")).url
                for _ in range(3):
                    gateways.append(stack.enter_context(gateway_before(provider, origin=origin)))
            else:
                gateways.append(stack.enter_context(gateway_before(provider, tmp_path)))
            campaign = Campaign(gateways, provider, ANSWERS, KILLS, CUTS, SEED)
            await campaign.run()
    assert campaign.faults == []
    assert campaign.outcomes.total() == ANSWERS
    assert campaign.killed == KILLS
    assert campaign.cut
