"""What the doctor prints: nothing that a server sends acts on a terminal."""

from __future__ import annotations

import json

import pytest

from headgate_doctor.output import counted, safe


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        pytest.param('plain: é 日本 🎉 "\\"\n\t', 'plain: é 日本 🎉 "\\"\n\t', id="plain-text"),
        pytest.param("\x1b\x7f\x80\x00\r", r"\u001b\u007f\u0080\u0000\r", id="control-characters"),
        pytest.param("\u200e\u2066\u061c", r"\u200e\u2066\u061c", id="directions-of-text"),
        pytest.param("\U000e0041", r"\udb40\udc41", id="an-invisible-letter"),
        pytest.param("\udcff", r"\udcff", id="a-byte-that-is-not-utf-8"),
    ],
)
def test_control_characters_of_a_report_are_printed_as_escapes(text: str, printed: str) -> None:
    assert safe(text) == printed


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 bytes"), (1, "1 byte"), (4096, "4,096 bytes")]
)
def test_a_noun_of_a_finding_is_in_the_plural_unless_its_number_is_one(
    number: int, shown: str
) -> None:
    assert counted(number, "byte") == shown


def test_escaping_control_characters_keeps_the_json_of_a_report_equal() -> None:
    value = {"saw": "\x9b\u202e\x1b\x7f\U000e0041\xa0"}
    assert json.loads(safe(json.dumps(value, ensure_ascii=False))) == value
