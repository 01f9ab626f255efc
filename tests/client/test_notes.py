"""What a producer notes for whoever looks for it."""

from __future__ import annotations

import pytest
from headgate.notes import Note, encode, last_of


def test_the_last_note_of_a_producer_says_how_long_it_is_waited_for() -> None:
    begun, left = Note(orphan_after=9), Note(orphan_after=9, is_left=True)
    assert last_of(b"[%b,%b]" % (encode(left), encode(begun))) == begun
    assert (begun.patience_s(is_to_stop=True), begun.patience_s(is_to_stop=False)) == (3.0, 4.0)
    assert last_of(b"[%b,%b]" % (encode(begun), encode(left))) == left
    assert left.patience_s(is_to_stop=False) == 0.0


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b"{",
        b"1",
        b"null",
        pytest.param(b"\xff", id="a-byte-that-is-no-utf-8"),
        b"[1,null]",
        b'[{"orphan_after":"1"}]',
        pytest.param(b"9" * 5000, id="five-thousand-digits"),
        pytest.param(b"[" * 9**5, id="json-nested-too-deeply"),
    ],
)
def test_a_malformed_note_is_none(body: bytes) -> None:
    """Whoever looks waits as for a producer with the defaults."""
    assert last_of(body) is None
