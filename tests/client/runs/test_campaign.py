"""The campaign at a small size."""

from __future__ import annotations

import pytest

from tests.client.runs.campaign import SHORT, percentile, play


@pytest.mark.timeout(180)  # several processes start, one after the other
async def test_runs_end_alike_for_all_readers_whatever_is_killed_and_cut() -> None:
    found = await play(SHORT)
    assert found.kills == SHORT.kills
    assert found.ends == {"orphaned": SHORT.kills * SHORT.runs}
    assert len(found.stops_s) == SHORT.runs
    assert percentile(found.stops_s, 0.5) <= 0.1
