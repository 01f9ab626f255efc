"""The offsets at which messages begin."""

from __future__ import annotations

import json

import pytest

from admin.streams.messages import json_offsets, split
from gateway.protocol.streams.offsets import format_offset

# ---------------------------------------------------------------- offsets


def test_each_message_has_its_offset_where_each_is_a_record() -> None:
    start, end = format_offset(2, 100), format_offset(2, 106)
    assert json_offsets([1, 2, 3], start, end) == [
        start,
        format_offset(2, 101),
        format_offset(2, 103),
        end,
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(format_offset(2, 100), format_offset(2, 108), id="one-record-of-three"),
        pytest.param(format_offset(2, 100), format_offset(2, 107), id="records-of-one-and-two"),
        pytest.param(format_offset(1, 100), format_offset(2, 106), id="two-generations"),
        pytest.param("", format_offset(2, 106), id="an-unknown-start"),
        pytest.param("a", "b", id="another-server"),
    ],
)
def test_offsets_between_messages_are_unknown_where_records_cannot_be_told(
    start: str, end: str
) -> None:
    assert json_offsets([1, 2, 3], start, end) == [start or None, None, None, end]


def test_messages_are_shown_with_the_offsets_at_which_they_begin() -> None:
    items = [{"a": 1}, {"b": 2}]
    body = json.dumps(items).encode()
    sizes = [len(json.dumps(it)) for it in items]
    start, end = format_offset(0, 7), format_offset(0, 7 + sum(sizes))
    shown = split("application/json", body, whole=True, next_offset=end, start=start)
    middle = format_offset(0, 7 + sizes[0])
    assert [(it.offset, it.next_offset) for it in shown] == [(start, middle), (middle, end)]
