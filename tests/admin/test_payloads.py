from __future__ import annotations

import pytest

from headgate_admin.model.streams import ShownMessage
from headgate_admin.pages import payloads


def text(said: str, *, truncated: bool = False) -> ShownMessage:
    return ShownMessage(len(said.encode()), said, None, truncated)


def test_json_payloads_are_indented_and_keep_long_numbers() -> None:
    shown = payloads.payload(text('{"at":12345678901234567890,"a":[]}'), is_json=True)
    assert shown == '{\n  "at": 12345678901234567890,\n  "a": []\n}'


@pytest.mark.parametrize(
    ("message", "is_json"),
    [
        pytest.param(text('{"a":'), True, id="incomplete-json"),
        pytest.param(text('{"a":1}', truncated=True), True, id="truncated-json"),
        pytest.param(text("[1]"), False, id="text-that-looks-like-json"),
    ],
)
def test_payloads_that_are_no_complete_json_are_shown_unchanged(
    message: ShownMessage, is_json: bool
) -> None:
    assert payloads.payload(message, is_json) == message.text


def test_text_payloads_keep_line_breaks_and_show_invisible_characters() -> None:
    assert payloads.payload(text("a\tb\nc\u202e\x1b"), is_json=False) == "a\tb\nc⟨U+202E⟩⟨U+001B⟩"


def test_binary_payloads_are_formatted_as_hex_beside_ascii() -> None:
    data = b"GET /\r\n\x00\xff" + b"x" * 8
    assert payloads.payload(ShownMessage(len(data), None, data), is_json=True).splitlines() == [
        "00000000  47 45 54 20 2f 0d 0a 00 ff 78 78 78 78 78 78 78  GET /....xxxxxxx",
        "00000010  78                                               x",
    ]


def test_a_payload_preview_is_one_short_line() -> None:
    assert payloads.preview(text("a\n  b" + "c" * 1000)) == "a b" + "c" * 155
    assert payloads.preview(ShownMessage(2, None, b"\x00\xff")) == "00 ff"
