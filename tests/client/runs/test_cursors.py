"""The cursors by which a client goes on after an item."""

from __future__ import annotations

import pytest
from headgate.runs.cursors import Cursor, cursor

OFFSET = "0000000000000001_0000000000262144"


@pytest.mark.parametrize(
    ("text", "after"),
    [
        *(("0", 0), ("7", 7), ("-3", -3), ("9" * 15, 10**15 - 1)),
        pytest.param(f"1042.3.{OFFSET}", Cursor(1042, 3, OFFSET), id="an-offset-of-headgate"),
        pytest.param("5.0.01.5-a~", Cursor(5, 0, "01.5-a~"), id="another-offset"),
        pytest.param(f"5.1.{'a' * 256}", Cursor(5, 1, "a" * 256), id="the-longest-offset"),
    ],
)
def test_a_number_or_an_event_id_is_read_from_each_field(text: str, after: int | Cursor) -> None:
    assert cursor({"after": text}, {}) == cursor({"startIndex": text}, {}) == after
    assert cursor({"after": "1"}, {"Last-Event-ID": text}) == after


@pytest.mark.parametrize(
    "text",
    [
        *("a", "1.5", "1e3", "--1", "-", "\u0661", "1" * 16, " 1"),
        *("1.2.", "1..x", ".1.x", "1.2.x", "-5.1.x", "5.-1.x", "5.1.now", "5.1.-1", "5.1.a/b"),
        f"{'1' * 16}.1.x",
        pytest.param("1\n", id="a-newline-after-a-number"),
        pytest.param("5.1.x\n", id="a-newline-after-an-offset"),
        pytest.param(f"5.1.{'x' * 257}", id="an-offset-over-the-limit"),
    ],
)
def test_a_malformed_cursor_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole numbers, or ids of events"):
        cursor({"after": text}, {})
