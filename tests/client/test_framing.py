"""How messages become the bodies of appends."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate import encode_multi_chunks
from headgate.sending.framing import Framing
from headgate_gateway.protocol.bodies.multi_append import messages_of
from tests.support.multi_append import framed

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


CHUNKS = st.lists(st.binary(min_size=1) | st.text(min_size=1), min_size=1, max_size=20)


@given(CHUNKS)
def test_a_server_reads_from_encoded_chunks_what_was_encoded(chunks: list[bytes | str]) -> None:
    data = [it.encode() if isinstance(it, str) else it for it in chunks]
    body = encode_multi_chunks(iter(chunks))
    assert body == framed(data)
    assert messages_of(body) == data
    assert TEXT.batch(data)[0] == (body if len(data) > 1 else data[0])


def test_encoding_no_chunks_gives_an_empty_body() -> None:
    assert encode_multi_chunks([]) == b""


SEVERAL = "encode_multi_chunks takes several chunks, such as a list, not "


@pytest.mark.parametrize(
    ("chunks", "error", "sentence"),
    [
        pytest.param("abc", TypeError, f"{SEVERAL}str", id="one-text"),
        pytest.param(b"abc", TypeError, f"{SEVERAL}bytes", id="one-of-bytes"),
        pytest.param(memoryview(b"a"), TypeError, f"{SEVERAL}memoryview", id="one-memoryview"),
        pytest.param(None, TypeError, f"{SEVERAL}NoneType", id="nothing"),
        pytest.param(
            ["a", b""], ValueError, "chunk 2 is empty: each has at least a byte", id="an-empty-one"
        ),
        pytest.param(
            ["a", 1], TypeError, "a multi-append takes bytes or str, not int", id="a-number"
        ),
        pytest.param(
            ["ab\ud800"],
            ValueError,
            "the chunk is no text: character 2 is half of a surrogate pair",
            id="half-a-character",
        ),
    ],
)
def test_chunks_that_cannot_be_framed_are_refused_in_a_sentence(
    chunks: Any, error: type[Exception], sentence: str
) -> None:
    with pytest.raises(error) as refused:
        encode_multi_chunks(chunks)
    assert str(refused.value) == sentence
