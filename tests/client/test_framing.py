from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass

import msgspec
import pytest
from headgate.sending import multi_append
from headgate.sending.framing import JsonFraming, PlainFraming, framing_of
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.bodies.content import json_messages

TEXT = PlainFraming("text/plain", takes_multi=True)
JSON = JsonFraming()
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
        (
            "application/x-ndjson",
            True,
            [b"a", b"bc"],
            b"\0\0\0\1a\0\0\0\2bc",
            {"X-Stream-Multi": "true"},
        ),
    ],
)
def test_a_batch_is_what_its_stream_takes(
    content_type: str, takes_multi: bool, chunks: list[bytes], body: bytes, headers: dict[str, str]
) -> None:
    framing = framing_of(content_type, takes_multi=takes_multi)
    assert framing.batch(chunks) == (body, headers)


def test_only_where_multi_appends_are_offered_have_other_streams_batches() -> None:
    assert framing_of("text/plain", takes_multi=False).max_chunks == 1
    assert framing_of("text/plain", takes_multi=True).max_chunks is None
    assert framing_of("application/json", takes_multi=False).max_chunks is None


@given(st.lists(st.binary(min_size=1)))
def test_each_chunk_stands_behind_its_length(chunks: list[bytes]) -> None:
    rest, found = multi_append.encode(chunks), []
    while rest:
        end = 4 + int.from_bytes(rest[:4], "big")
        found.append(rest[4:end])
        rest = rest[end:]
    assert found == chunks


@given(st.lists(VALUES, min_size=1))
def test_each_value_is_one_message(values: list[object]) -> None:
    body, _ = JSON.batch([JSON.encode(value) for value in values])
    assert [json.loads(message) for message in json_messages(body)] == values


@pytest.mark.parametrize(
    ("chunk", "encoded"),
    [
        (b"a\xff", b"a\xff"),
        (bytearray(b"a"), b"a"),
        (memoryview(b"a"), b"a"),
        ("é", b"\xc3\xa9"),
        ("", b""),
    ],
)
def test_text_goes_as_utf_8_and_bytes_as_they_are(chunk: object, encoded: bytes) -> None:
    assert TEXT.encode(chunk) == encoded


@pytest.mark.parametrize(
    ("chunk", "encoded"),
    [
        ("é", '"é"'.encode()),
        ("", b'""'),
        ([], b"[]"),
        ({"a": 1.5}, b'{"a":1.5}'),
        (Point(1), b'{"x":1}'),
        (b' {"a": 1.10} \n', b'{"a": 1.10}'),
        (memoryview(b"2e400"), b"2e400"),
    ],
)
def test_values_go_as_json_and_bytes_are_json_already(chunk: object, encoded: bytes) -> None:
    assert JSON.encode(chunk) == encoded


@pytest.mark.parametrize("chunk", [{"a": 1}, 1, None, ["a"]])
def test_other_streams_take_no_values(chunk: object) -> None:
    name = type(chunk).__name__
    with pytest.raises(TypeError, match=f"a stream of text/plain takes bytes or str, not {name}"):
        TEXT.encode(chunk)


def test_half_a_surrogate_pair_is_no_text() -> None:
    with pytest.raises(ValueError, match="character 2 is half of a surrogate pair"):
        TEXT.encode("ab\ud800")
    for chunk in ("ab\ud800", {"a\udfff": 1}):
        with pytest.raises(ValueError, match=r"no JSON value.*surrogates"):
            JSON.encode(chunk)


@pytest.mark.parametrize(
    "text", [b"", b"{", b"1 2", b"[1],[2]", b"\xff", b'"\xff"', b'"a\nb"', b"nul"]
)
def test_bytes_that_are_no_json_are_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match="the chunk is no JSON value: "):
        JSON.encode(text)


def nested() -> object:
    value: list[object] = []
    value.append(value)
    return value


@dataclass
class Measured:
    x: float


@pytest.mark.parametrize(
    "value", [math.nan, {"a": [1, (math.inf,)]}, [None, Measured(-math.inf)], {"null": math.nan}]
)
def test_numbers_without_json_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="no JSON value: NaN and infinities have no JSON"):
        JSON.encode(value)


def test_null_is_a_value() -> None:
    values = [None, "null", {"null": [1.5, None]}, msgspec.Raw(b'{"a":null}'), Measured(0.5)]
    body, _ = JSON.batch([JSON.encode(value) for value in values])
    assert body == b'[null,"null",{"null":[1.5,null]},{"a":null},{"x":0.5}]'


@pytest.mark.parametrize(("value", "error"), [(object(), TypeError), (nested(), ValueError)])
def test_values_without_json_are_refused(value: object, error: type[Exception]) -> None:
    with pytest.raises(error, match=re.escape("the chunk is no JSON value: ")):
        JSON.encode(value)
