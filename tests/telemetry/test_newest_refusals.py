from __future__ import annotations

from headgate_gateway.telemetry.access_log import LONGEST_BODY, MOST_REFUSALS, NewestRefusals
from tests.support.manual_clock import ManualClock


def test_only_the_newest_refusals_are_kept() -> None:
    refusals = NewestRefusals(ManualClock())
    for number in range(MOST_REFUSALS + 1):
        refusals.note(str(number), f"/{number}", 404, b'{"detail": "none"}', None)
    listed = refusals.listed()
    assert len(listed) == MOST_REFUSALS
    assert (listed[0].request_id, listed[-1].request_id) == (str(MOST_REFUSALS), "1")
    assert listed[0].detail == "none"


def test_equal_refusals_are_one_row_with_their_number_so_that_a_flood_hides_no_others() -> None:
    clock = ManualClock()
    refusals = NewestRefusals(clock)
    refusals.note("other", "/a", 401, b"{}", "192.0.2.2")
    for number in range(3 * MOST_REFUSALS):
        clock.advance(1.0)
        refusals.note(str(number), "/a", 429, b"{}", "192.0.2.1")
    flood, other = refusals.listed()
    newest = 3 * MOST_REFUSALS - 1
    assert (flood.request_id, flood.count, flood.at) == (str(newest), newest + 1, clock())
    assert (other.request_id, other.count) == ("other", 1)


def test_a_body_that_is_too_long_or_no_problem_document_has_no_sentence() -> None:
    refusals = NewestRefusals(ManualClock())
    frame = len(b'{"detail": ""}')
    for size in (LONGEST_BODY - frame, LONGEST_BODY - frame + 1):
        refusals.note("r", f"/{size}", 400, b'{"detail": "%s"}' % (b"x" * size), None)
    for body in (b"", b"<html>", b"[]", b'{"detail": 7}', b"\xff"):
        refusals.note("r", "/a", 502, body, None)
    lengths = [len(it.detail) for it in reversed(refusals.listed())]
    assert lengths == [LONGEST_BODY - frame, 0, 0, 0, 0, 0, 0]
