"""What a producer notes for whoever looks for it, and how long it is waited for."""

from __future__ import annotations

import asyncio
from itertools import chain, repeat

import msgspec
import pytest
from headgate.errors import Unavailable
from headgate.records import Note, last_note
from headgate.runs.stored.lease import LOOK_AGAIN_S, SLOW_S, stays_so

from tests.support.virtual_time import run


def test_the_last_note_of_a_producer_says_how_long_it_is_waited_for() -> None:
    begun, left = Note(orphan_after=9), Note(orphan_after=9, is_left=True)
    assert last_note(b"[%b,%b]" % (msgspec.json.encode(left), msgspec.json.encode(begun))) == begun
    assert (begun.patience_s(is_to_stop=True), begun.patience_s(is_to_stop=False)) == (3.0, 4.0)
    assert last_note(b"[%b,%b]" % (msgspec.json.encode(begun), msgspec.json.encode(left))) == left
    assert left.patience_s(is_to_stop=False) == 0.0


LATE_S = LOOK_AGAIN_S + 0.5  # of an answer after which the producer may have been held up, too


@pytest.mark.parametrize(
    ("first_answers_s", "further_s", "seconds", "raises"),
    [
        pytest.param([], 0.5, 4.0, False, id="in-time"),
        pytest.param([100.0], 0.5, 4.0, False, id="once-late"),
        pytest.param([LATE_S], 0.5, 100.0, False, id="late-at-the-beginning-of-a-long-wait"),
        pytest.param([], LATE_S, 4.0, True, id="always-late"),
        pytest.param([0.5] * 60, LATE_S, 100.0, True, id="late-at-the-end-of-a-long-wait"),
    ],
)
def test_a_server_is_unavailable_once_its_answers_were_late_for_half_a_minute(
    first_answers_s: list[float], further_s: float, seconds: float, raises: bool
) -> None:
    answers_s = chain(first_answers_s, repeat(further_s))

    async def is_so() -> bool:
        await asyncio.sleep(next(answers_s))
        return True

    async def look() -> bool:
        try:
            async with asyncio.timeout(seconds + SLOW_S + 100.0 + 3 * LATE_S):
                return await stays_so(is_so, seconds)
        except Unavailable:
            return False

    assert run(look()) is not raises


def test_a_malformed_note_is_none() -> None:
    """Then a producer is waited for as one with the defaults."""
    for body in (b"[]", b"{", b"null", b"\xff", b"[1,null]", b'[{"orphan_after":"1"}]'):
        assert last_note(body) is None
    for body in (b"9" * 5000, b"[" * 9**5):
        assert last_note(body) is None
