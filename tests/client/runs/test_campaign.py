"""The campaign of runs at a small size."""

from __future__ import annotations

import pytest

from tests.client.runs.campaign import SHORT, play


@pytest.mark.usefixtures("processes")
@pytest.mark.timeout(180)  # many processes start
async def test_readers_of_a_run_have_one_fitting_end_in_time_whatever_fails() -> None:
    assert (await play(["kill", "failover", "reference"], SHORT)).broken == []
