from __future__ import annotations

import pytest

from admin.model import Message
from admin.pages import payloads


def text(said: str, *, truncated: bool = False) -> Message:
    return Message(len(said.encode()), said, None, truncated)


def test_json_gets_a_line_for_each_value_and_keeps_its_numbers() -> None:
    shown = payloads.payload(text('{"at":12345678901234567890,"a":[]}'), is_json=True)
    assert shown == '{\n  "at": 12345678901234567890,\n  "a": []\n}'


@pytest.mark.parametrize(
    ("message", "is_json"),
    [(text('{"a":'), True), (text('{"a":1}', truncated=True), True), (text("[1]"), False)],
)
def test_what_is_no_whole_json_is_shown_as_it_is(message: Message, is_json: bool) -> None:
    assert payloads.payload(message, is_json) == message.text


def test_text_keeps_its_lines_and_hides_nothing() -> None:
    assert payloads.payload(text("a\tb\nc\u202e\x1b"), is_json=False) == "a\tb\nc⟨U+202E⟩⟨U+001B⟩"


def test_bytes_are_hex_beside_ascii() -> None:
    data = b"GET /\r\n\x00\xff" + b"x" * 8
    assert payloads.payload(Message(len(data), None, data), is_json=True).splitlines() == [
        "00000000  47 45 54 20 2f 0d 0a 00 ff 78 78 78 78 78 78 78  GET /....xxxxxxx",
        "00000010  78                                               x",
    ]


def test_a_preview_is_one_short_line() -> None:
    assert payloads.preview(text("a\n  b" + "c" * 1000)) == "a b" + "c" * 155
    assert payloads.preview(Message(2, None, b"\x00\xff")) == "00 ff"
