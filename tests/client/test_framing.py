"""How messages become the bodies of appends."""

from __future__ import annotations

import math
from dataclasses import dataclass

import msgspec
import pytest
from headgate.sending.framing import Framing

TEXT = Framing("text/plain", takes_multi=True)
JSON = Framing("Application/JSON; charset=utf-8", takes_multi=False)


@dataclass
class Point:
    x: float


@pytest.mark.parametrize(
    ("framing", "chunk", "encoded"),
    [
        pytest.param(TEXT, b"a\xff", b"a\xff", id="bytes"),
        pytest.param(TEXT, bytearray(b"a"), b"a", id="a-bytearray"),
        pytest.param(TEXT, memoryview(b"a"), b"a", id="a-memoryview"),
        pytest.param(TEXT, "é", b"\xc3\xa9", id="text"),
        pytest.param(JSON, "é", '"é"'.encode(), id="json-of-text"),
        pytest.param(JSON, None, b"null", id="json-of-none"),
        pytest.param(JSON, {"null": [None]}, b'{"null":[null]}', id="json-with-none"),
        pytest.param(JSON, msgspec.Raw(b'{"a":null}'), b'{"a":null}', id="json-that-is-ready"),
        pytest.param(JSON, Point(0.5), b'{"x":0.5}', id="json-of-a-struct"),
        pytest.param(JSON, b' {"a": 1.10} \n', b'{"a": 1.10}', id="bytes-with-blanks"),
        pytest.param(JSON, memoryview(b"2e400"), b"2e400", id="json-in-a-memoryview"),
    ],
)
def test_text_is_encoded_as_utf_8_values_as_json_and_bytes_stay(
    framing: Framing, chunk: object, encoded: bytes
) -> None:
    assert framing.encode(chunk) == encoded


def nested() -> object:
    value: list[object] = []
    value.append(value)
    return value


HALF = r"character 2 is half of a surrogate pair"
NO_TEXT = "a stream of text/plain takes bytes or str, not "
NO_JSON = "this is not a JSON value, such as .*: "
NO_NUMBER = "not a JSON value.*NaN and infinities have no JSON"


REFUSED: list[tuple[Framing, object, type[Exception], str]] = [
    *((TEXT, chunk, TypeError, NO_TEXT) for chunk in ({"a": 1}, 1, None, ["a"])),
    (TEXT, "ab\ud800", ValueError, HALF),
    *((JSON, chunk, ValueError, NO_JSON) for chunk in ("ab\ud800", {"a\udfff": 1})),
    *((JSON, text, ValueError, NO_JSON) for text in (b"", b"{", b"1 2", b"[1],[2]", b"nul")),
    *((JSON, text, ValueError, NO_JSON) for text in (b"\xff", b'"\xff"', b'"a\nb"')),
    (JSON, nested(), ValueError, NO_JSON),
    (JSON, object(), TypeError, NO_JSON),
    (JSON, math.nan, ValueError, NO_NUMBER),
    (JSON, {"a": [None, (math.inf,)]}, ValueError, NO_NUMBER),
    (JSON, [None, Point(-math.inf)], ValueError, NO_NUMBER),
]


def test_what_a_stream_cannot_hold_is_refused_in_a_sentence() -> None:
    for framing, chunk, error, words in REFUSED:
        with pytest.raises(error, match=words):
            framing.encode(chunk)
