from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_admin.streams.client import LATEST_BYTES, before
from headgate_admin.streams.messages import LONGEST_MESSAGE, PIECE, json_offsets, split
from headgate_gateway.protocol.streams.offsets import format_offset

if TYPE_CHECKING:
    from collections.abc import Sequence

    from headgate_admin.model.streams import ShownMessage

TEXT, JSON, BYTES = "text/plain; charset=utf-8", "application/json", "image/png"


def content(messages: Sequence[ShownMessage]) -> bytes:
    """Return the bytes of messages, whether they are shown as text or not."""
    return b"".join(it.data or b"" if it.text is None else it.text.encode() for it in messages)


@given(st.text(max_size=40), st.sampled_from([TEXT, BYTES]))
def test_pieces_of_a_long_message_join_to_the_whole(text: str, content_type: str) -> None:
    body = (text * 400).encode()
    messages = split(content_type, body, whole=True, next_offset="9")
    assert content(messages) == body
    assert all(message.size <= PIECE for message in messages)
    offsets = [message.next_offset for message in messages if message.next_offset]
    assert offsets == (["9"] if text else [])


@given(st.binary(max_size=40).map(lambda data: data * 400))
def test_pieces_of_bytes_that_are_no_text_join_to_the_whole(data: bytes) -> None:
    assert content(split(TEXT, data, whole=True, next_offset="9")) == data


@pytest.mark.parametrize("size", [LONGEST_MESSAGE - 1, LONGEST_MESSAGE, LONGEST_MESSAGE + 1])
def test_a_message_beyond_the_longest_length_is_truncated_and_marked(size: int) -> None:
    body = json.dumps(["x" * (size - 2)]).encode()
    (message,) = split(JSON, body, whole=True, next_offset="9")
    assert message.text is not None
    assert (message.size, len(message.text)) == (size, min(size, LONGEST_MESSAGE))
    assert message.truncated == (size > LONGEST_MESSAGE)


@pytest.mark.parametrize("content_type", [TEXT, BYTES])
@pytest.mark.parametrize("size", [1, 3, PIECE - 1, PIECE, PIECE + 1, PIECE + 4, 3 * PIECE])
def test_only_the_last_piece_of_an_incomplete_read_is_marked_truncated(
    content_type: str, size: int
) -> None:
    body = ("a" + "€" * 2 * PIECE).encode()[:size]
    messages = split(content_type, body, whole=False, next_offset="9")
    assert [message.truncated for message in messages] == [False] * (len(messages) - 1) + [True]
    assert all(message.text is None for message in messages) == (content_type == BYTES)
    told = content(messages)
    assert body.startswith(told)
    assert len(body) - len(told) < (3 if content_type == TEXT else 1)  # the rest of a character


def test_a_truncated_message_ends_at_a_character_boundary() -> None:
    text = "é" * LONGEST_MESSAGE
    (message,) = split(
        JSON, json.dumps([text], ensure_ascii=False).encode(), whole=True, next_offset=""
    )
    assert message.text == '"' + "é" * (LONGEST_MESSAGE // 2 - 1)


@pytest.mark.parametrize(
    "body", [b'[1, "two', b"{not json}", pytest.param(b'["\xff"]', id="a-byte-that-is-no-utf-8")]
)
def test_invalid_or_incomplete_json_is_shown_as_one_message(body: bytes) -> None:
    for whole in (False, True):
        (message,) = split(JSON, body, whole=whole, next_offset="9")
        assert message.next_offset == "9"
        assert message.truncated is (not whole)
        assert message.text == body.decode() if message.data is None else message.data == body


def test_reading_the_latest_begins_a_fixed_number_of_bytes_before_the_tail() -> None:
    assert before(format_offset(3, LATEST_BYTES)) == "-1"
    assert before(format_offset(3, LATEST_BYTES + 5)) == format_offset(3, 5)
    assert before("0f3a-of-another-server") == "-1"
    assert before("") == "-1"


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
