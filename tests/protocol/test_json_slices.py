"""Long JSON in slices: the same as in one go, wherever a slice may end."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate_gateway.background import at_once
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies import json_text
from headgate_gateway.protocol.bodies.content import Records, json_messages, long_records, prefix_of
from tests.protocol.test_content import JSON, SPACE, VALUES

SHORTEST = 13  # bytes of a slice in which an escaped pair of surrogates still finds its place
LONG = 3 * json_text.SLICE_BYTES


def in_one_go(body: bytes) -> Records | None:
    """The record and its number of messages, None when it is refused."""
    try:
        messages = json_messages(body)
        return (b",".join(messages),) if messages else (), len(messages)
    except BadRequest:
        return None


def in_slices(body: bytes, size: int) -> Records | None:
    """The same by slices of so many bytes."""
    with patch.object(json_text, "SLICE_BYTES", size):
        record = at_once(long_records(body))
    return None if isinstance(record, BadRequest) else record


TEXTS = st.tuples(SPACE, VALUES | st.sampled_from(['"\\ud83d\\ude00"', '"\\\\"']), SPACE).map(
    "".join
)
BODIES = st.lists(TEXTS, max_size=6).map(lambda items: f"[{','.join(items)}]") | TEXTS
PIECES = st.sampled_from([*'[]{},:"\\ 1u', "\\u", "\x01", "\\ud83d", '":'])


@given(BODIES, st.integers(SHORTEST, 40))
def test_json_parsed_in_slices_equals_json_parsed_at_once(body: str, size: int) -> None:
    wire = body.encode()
    assert in_slices(wire, size) == in_one_go(wire)


@given(BODIES, st.integers(0), PIECES, st.integers(0, 3), st.integers(SHORTEST, 40))
@example("[1,2]", 3, ",", 1, SHORTEST)
def test_invalid_json_is_refused_in_slices_as_at_once(
    body: str, at: int, put: str, left_out: int, size: int
) -> None:
    place = at % (len(body) + 1)
    wire = (body[:place] + put + body[place + left_out :]).encode()
    assert in_slices(wire, size) == in_one_go(wire)


@given(st.binary(max_size=60), st.integers(SHORTEST, 20))
def test_a_string_of_invalid_utf8_is_refused_in_slices_as_at_once(inside: bytes, size: int) -> None:
    wire = b'["' + inside + b'"]'
    assert in_slices(wire, size) == in_one_go(wire)


@given(st.lists(TEXTS, min_size=1, max_size=6), st.integers(SHORTEST, 40))
def test_the_first_messages_of_a_record_are_found_in_slices(items: list[str], size: int) -> None:
    messages = json_messages(f"[{','.join(items)}]".encode())
    record = b",".join(messages)
    with patch.object(json_text, "SLICE_BYTES", size):
        for count in range(len(messages) + 2):
            expected = b",".join(messages[:count]) if count <= len(messages) else None
            assert at_once(prefix_of(JSON, record, count)) == expected


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'"' + b"x" * LONG + b'"', id="a-string"),
        pytest.param(b"[" + b"1," * LONG + b"1]", id="an-array-of-numbers"),
        pytest.param(b'{"a":[' + b'{"b":"c"},' * LONG + b"0]}", id="an-object-with-an-array"),
        pytest.param(b'["' + "\u20ac".encode() * LONG + b'"]', id="characters-of-three-bytes"),
        pytest.param(b'["' + b"\\ud83d\\ude00" * LONG + b'"]', id="escaped-surrogates"),
        pytest.param(b" " * LONG + b"[1]", id="blanks-before-an-array"),
        pytest.param(b"[1" + b" " * json_text.LONGEST_RUN + b",1]", id="blanks-within-an-array"),
    ],
)
def test_a_long_json_body_is_stored_byte_for_byte(body: bytes) -> None:
    assert at_once(long_records(body)) == in_one_go(body)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"[1,2" + b",3" * LONG + b",]", f"trailing comma in array (byte {5 + 2 * LONG})"),
        (b"1," * LONG + b"1", "JSON is malformed: trailing characters"),
        (b"[" * LONG, "it is nested too deeply"),
        (b"[[]]" * LONG, "it is nested too deeply"),
        (b"[1" + b" " * (json_text.LONGEST_RUN + LONG) + b",1]", "a number or a blank is over"),
        (b"1" * (json_text.LONGEST_RUN + LONG), "a number or a blank is over 1,048,576 bytes"),
        (b" " * (json_text.LONGEST_RUN + 1) + b"1", "a number or a blank is over"),
    ],
    ids=["comma", "no array", "deep", "brackets", "blank amid", "number", "blank before"],
)
def test_a_long_invalid_json_body_is_refused_with_the_reason(body: bytes, detail: str) -> None:
    refusal = at_once(long_records(body))
    assert isinstance(refusal, BadRequest)
    assert detail in refusal.detail


RUN, SLICE = json_text.LONGEST_RUN, json_text.SLICE_BYTES


@pytest.mark.parametrize(
    ("body", "taken"),
    [
        (b"[1" + b" " * (SLICE + RUN - 3) + b",1]", True),
        (b"[1" + b" " * (SLICE + RUN - 2) + b",1]", True),
        (b"[1" + b" " * (SLICE + RUN - 1) + b",1]", False),
        (b" " * (RUN - 1) + b"1", True),
        (b" " * RUN + b"1", False),
        (b"1" + b" " * (RUN - 1), True),
        (b"1" + b" " * RUN, False),
    ],
    ids=["amid n-1", "amid n", "amid n+1", "before n", "before n+1", "behind n", "n+1"],
)
def test_a_run_without_a_place_to_end_a_slice_is_bounded(body: bytes, taken: bool) -> None:
    """A blank amid values counts from where the first slice might have ended."""
    made = at_once(long_records(body))
    text = body.translate(None, b" []")
    assert made == ((text,), text.count(b"1")) if taken else isinstance(made, BadRequest)
