from __future__ import annotations

from gateway.telemetry.access_log import LONGEST_BODY, MOST_REFUSALS, NewestRefusals
from tests.streams.clock import ManualClock


def test_only_the_newest_refusals_are_kept() -> None:
    refusals = NewestRefusals(ManualClock())
    for number in range(MOST_REFUSALS + 1):
        refusals.note(str(number), "/a", 404, b'{"detail": "none"}', None)
    listed = refusals.listed()
    assert len(listed) == MOST_REFUSALS
    assert (listed[0].request_id, listed[-1].request_id) == (str(MOST_REFUSALS), "1")
    assert listed[0].detail == "none"


def test_a_body_that_is_too_long_or_no_problem_document_has_no_sentence() -> None:
    refusals = NewestRefusals(ManualClock())
    frame = len(b'{"detail": ""}')
    for size in (LONGEST_BODY - frame, LONGEST_BODY - frame + 1):
        refusals.note("r", "/a", 400, b'{"detail": "%s"}' % (b"x" * size), None)
    for body in (b"", b"<html>", b"[]", b'{"detail": 7}', b"\xff"):
        refusals.note("r", "/a", 502, body, None)
    lengths = [len(it.detail) for it in reversed(refusals.listed())]
    assert lengths == [LONGEST_BODY - frame, 0, 0, 0, 0, 0, 0]
