"""Short histories of model routes; `make torture` plays long ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.models.histories.campaign import campaign
from tests.support.examples import cases

if TYPE_CHECKING:
    from pathlib import Path

LOGS = ("file", "memory", "redis")
SECONDS = 2.0
SEED = 1


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(120)
@pytest.mark.parametrize("log", cases(LOGS, ["file", "redis"], "the same history on a file: log"))
async def test_every_client_of_a_history_gets_what_the_pages_promise(
    log: str, tmp_path: Path
) -> None:
    assert await campaign(log, SECONDS, SEED, tmp_path) == []
