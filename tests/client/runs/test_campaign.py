"""The campaign at a small size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.client.runs.campaign import SERVERS, SHORT, Found, broken, play

# Beside other tests; the campaign itself has less patience.
STOPPED_WITHIN_S, STATE_WITHIN_S = 1.0, 0.5


@pytest.mark.timeout(180)  # several processes start
@pytest.mark.torture("each end alone in test_ends.py, and kills in test_takeover_kills.py")
@pytest.mark.parametrize("server", SERVERS)
async def test_all_readers_of_a_run_see_the_same_end_after_kills_cuts_and_deletions(
    server: str,
) -> None:
    assert broken(await play(SHORT, server), SHORT, STOPPED_WITHIN_S, STATE_WITHIN_S) == []


def test_the_run_campaign_reports_missing_cuts_wrong_ends_and_slow_stops() -> None:
    """A campaign without cuts, with another end, or with one slow stop is no good one."""
    ends = {"orphaned": SHORT.kills * SHORT.runs // SHORT.processes}
    stops_s = [0.001] * SHORT.runs
    good = Found(ends, SHORT.cuts, SHORT.kills, SHORT.runs, stops_s, [0.001])
    assert broken(good, SHORT, 0.1, 0.01) == []
    for found in (
        replace(good, cuts=0),
        replace(good, kills=SHORT.kills - 1),
        replace(good, ends={"failed": sum(ends.values())}),
        replace(good, lost=SHORT.runs - 1),
        replace(good, stops_s=stops_s[1:]),
        replace(good, stops_s=[*stops_s[1:], 0.2]),
        replace(good, states_s=[0.011]),
    ):
        assert len(broken(found, SHORT, 0.1, 0.01)) == 1
