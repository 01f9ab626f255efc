"""What a client says to go on behind an item."""

from __future__ import annotations

import pytest
from headgate.runs.cursors import Cursor, cursor

OFFSET = "0000000000000001_0000000000262144"


def told(text: str) -> int | Cursor | None:
    return cursor({"after": text}, {})


@pytest.mark.parametrize(
    ("text", "after"), [("0", 0), ("7", 7), ("-3", -3), ("9" * 15, 10**15 - 1)]
)
def test_a_plain_item_number_is_still_accepted_as_a_cursor(text: str, after: int) -> None:
    assert told(text) == cursor({}, {"Last-Event-ID": text}) == after
    assert cursor({"startIndex": text}, {}) == after


@pytest.mark.parametrize(
    "offset", [OFFSET, "01.5-a~", "9", pytest.param("a" * 256, id="the-longest-offset")]
)
def test_an_event_id_is_parsed_back_into_its_cursor(offset: str) -> None:
    place = Cursor(1042, 3, offset)
    assert place.text == f"1042.3.{offset}"
    assert told(place.text) == place


@pytest.mark.parametrize(
    "offset",
    ["a+b", "a b", "a%20", "é", pytest.param("a" * 257, id="an-offset-over-the-limit"), ""],
)
def test_an_event_id_is_the_plain_item_number_if_its_offset_needs_url_encoding(
    offset: str,
) -> None:
    assert Cursor(1042, 3, offset).text == "1042"


@pytest.mark.parametrize(
    "text",
    [
        *("a", "1.5", "1e3", "--1", "-", "\u0661", "1" * 16, " 1"),
        *("1.2.", "1..x", ".1.x", "1.2.x", "-5.1.x", "5.-1.x", "5.1.now", "5.1.-1", "5.1.a/b"),
        f"{'1' * 16}.1.x",
        pytest.param("1\n", id="a-newline-behind-a-number"),
        pytest.param("5.1.x\n", id="a-newline-behind-an-offset"),
        pytest.param(f"5.1.{'x' * 257}", id="an-offset-over-the-limit"),
    ],
)
def test_a_malformed_cursor_text_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="whole numbers, or ids of events"):
        told(text)
