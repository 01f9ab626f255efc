from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

import msgspec
import pytest
from headgate.sending.framing import Framing
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.bodies.content import json_messages

TEXT = Framing("text/plain", takes_multi=True)
JSON = Framing("application/json", takes_multi=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@dataclass
class Point:
    x: int


@pytest.mark.parametrize(
    ("content_type", "takes_multi", "chunks", "body", "headers"),
    [
        ("application/json", False, [b"1", b"[2]"], b"[1,[2]]", {}),
        ("Application/JSON; charset=utf-8", True, [b"[]"], b"[[]]", {}),
        ("text/plain", False, [b"one"], b"one", {}),
        ("text/plain", True, [b"one"], b"one", {}),
        pytest.param(
            "application/x-ndjson",
            True,
            [b"a", b"bc"],
            b"\0\0\0\1a\0\0\0\2bc",
            {"X-Stream-Multi": "true"},
            id="two-messages-as-a-multi-append",
        ),
    ],
)
def test_the_content_type_and_multi_append_support_decide_how_a_batch_is_framed(
    content_type: str, takes_multi: bool, chunks: list[bytes], body: bytes, headers: dict[str, str]
) -> None:
    framing = Framing(content_type, takes_multi=takes_multi)
    assert framing.batch(chunks) == (body, headers)


@given(st.lists(VALUES, min_size=1))
def test_a_json_batch_decodes_to_one_message_per_value(values: list[object]) -> None:
    body, _ = JSON.batch([JSON.encode(value) for value in values])
    assert [json.loads(message) for message in json_messages(body)] == values


@pytest.mark.parametrize(
    ("chunk", "encoded"),
    [
        pytest.param(b"a\xff", b"a\xff", id="bytes"),
        pytest.param(bytearray(b"a"), b"a", id="a-bytearray"),
        pytest.param(memoryview(b"a"), b"a", id="a-memoryview"),
        pytest.param("é", b"\xc3\xa9", id="text"),
        ("", b""),
    ],
)
def test_text_chunks_are_encoded_as_utf_8_and_bytes_stay_unchanged(
    chunk: object, encoded: bytes
) -> None:
    assert TEXT.encode(chunk) == encoded


@pytest.mark.parametrize(
    ("chunk", "encoded"),
    [
        pytest.param("é", '"é"'.encode(), id="text"),
        ("", b'""'),
        ([], b"[]"),
        ({"a": 1.5}, b'{"a":1.5}'),
        pytest.param(Point(1), b'{"x":1}', id="a-struct"),
        pytest.param(b' {"a": 1.10} \n', b'{"a": 1.10}', id="bytes-with-blanks"),
        pytest.param(memoryview(b"2e400"), b"2e400", id="a-memoryview"),
    ],
)
def test_json_chunks_are_encoded_from_values_and_bytes_stay_json(
    chunk: object, encoded: bytes
) -> None:
    assert JSON.encode(chunk) == encoded


@pytest.mark.parametrize("chunk", [{"a": 1}, 1, None, ["a"]])
def test_a_text_stream_refuses_values_that_are_no_text(chunk: object) -> None:
    name = type(chunk).__name__
    with pytest.raises(TypeError, match=f"a stream of text/plain takes bytes or str, not {name}"):
        TEXT.encode(chunk)


def test_a_chunk_with_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="character 2 is half of a surrogate pair"):
        TEXT.encode("ab\ud800")
    for chunk in ("ab\ud800", {"a\udfff": 1}):
        with pytest.raises(ValueError, match=r"not a JSON value.*surrogates"):
            JSON.encode(chunk)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"1 2",
        b"[1],[2]",
        pytest.param(b"\xff", id="a-byte-that-is-no-utf-8"),
        pytest.param(b'"\xff"', id="a-string-that-is-no-utf-8"),
        pytest.param(b'"a\nb"', id="a-raw-newline-in-a-string"),
        b"nul",
    ],
)
def test_bytes_that_are_no_json_are_refused_by_a_json_stream(text: bytes) -> None:
    with pytest.raises(ValueError, match="this is not a JSON value, "):
        JSON.encode(text)


def nested() -> object:
    value: list[object] = []
    value.append(value)
    return value


@dataclass
class Measured:
    x: float


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        {"a": [1, (math.inf,)]},
        pytest.param([None, Measured(-math.inf)], id="an-infinity-in-a-struct"),
        {"null": math.nan},
    ],
)
def test_nan_and_infinities_are_refused_by_a_json_stream(value: object) -> None:
    with pytest.raises(ValueError, match=r"not a JSON value.*NaN and infinities have no JSON"):
        JSON.encode(value)


def test_none_is_encoded_as_null_by_a_json_stream() -> None:
    values = [None, "null", {"null": [1.5, None]}, msgspec.Raw(b'{"a":null}'), Measured(0.5)]
    body, _ = JSON.batch([JSON.encode(value) for value in values])
    assert body == b'[null,"null",{"null":[1.5,null]},{"a":null},{"x":0.5}]'


@pytest.mark.parametrize(
    ("value", "error"),
    [
        pytest.param(object(), TypeError, id="an-object"),
        pytest.param(nested(), ValueError, id="a-list-nested-too-deeply"),
    ],
)
def test_values_that_have_no_json_form_are_refused_by_a_json_stream(
    value: object, error: type[Exception]
) -> None:
    with pytest.raises(error, match=re.escape("this is not a JSON value, ")):
        JSON.encode(value)
