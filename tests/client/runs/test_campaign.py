"""The campaign at a small size."""

from __future__ import annotations

import pytest

from tests.client.runs.campaign import SHORT, Found, broken, play

STOPPED_WITHIN_S = 1.0  # beside other tests; the campaign itself has less patience


@pytest.mark.timeout(180)  # several processes start
async def test_runs_end_alike_for_all_readers_whatever_is_killed_and_cut() -> None:
    assert broken(await play(SHORT), SHORT, STOPPED_WITHIN_S) == []


def test_the_campaign_sees_what_it_is_for() -> None:
    """A campaign without cuts, with another end, or with one slow stop is no good one."""
    ends = {"orphaned": SHORT.kills * SHORT.runs // SHORT.processes}
    stops_s = [0.001] * SHORT.runs
    assert broken(Found(ends, SHORT.cuts, SHORT.kills, stops_s), SHORT, 0.1) == []
    for found in (
        Found(ends, 0, SHORT.kills, stops_s),
        Found(ends, SHORT.cuts, SHORT.kills - 1, stops_s),
        Found({"failed": sum(ends.values())}, SHORT.cuts, SHORT.kills, stops_s),
        Found(ends, SHORT.cuts, SHORT.kills, stops_s[1:]),
        Found(ends, SHORT.cuts, SHORT.kills, [*stops_s[1:], 0.2]),
    ):
        assert len(broken(found, SHORT, 0.1)) == 1
