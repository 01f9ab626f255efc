"""What valid JSON may be, so that every reader's parser takes it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.background import at_once
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import long_records, records_of
from headgate_gateway.protocol.bodies.json_text import (
    MAX_DEPTH,
    MAX_DIGITS,
    SLICE_BYTES,
    check_readable,
)

if TYPE_CHECKING:
    from collections.abc import Callable

JSON = "application/json"
DEEP = "the body is not usable JSON: it is nested more than 64 levels deep"
LONG = "the body is not usable JSON: a number has over 4300 digits"


def arrays(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


def objects(depth: int) -> bytes:
    return b'{"a":' * depth + b"1" + b"}" * depth


def refusal_of(body: bytes) -> str | None:
    """Of a body however long, why it is not taken; None when it is."""
    is_long = len(body) > SLICE_BYTES
    try:
        made = at_once(long_records(body)) if is_long else records_of(JSON, body)
    except BadRequest as refusal:
        return refusal.detail
    return made.detail if isinstance(made, BadRequest) else None


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        pytest.param(b'{"a":[1,{}]},' * 10_000, id="behind-many-values"),
        pytest.param(b'"[[[[{{{{",' * 10_000, id="behind-brackets-in-a-string"),
    ],
)
@pytest.mark.parametrize("made", [arrays, objects])
def test_a_json_message_is_accepted_up_to_the_nesting_limit(
    made: Callable[[int], bytes], before: bytes, more: int
) -> None:
    message = made(MAX_DEPTH + more)
    assert refusal_of(b"[" + before + message + b"]") == (DEEP if more > 0 else None)
    if not before:
        # An array is that of the messages, and not a level of one.
        assert refusal_of(objects(MAX_DEPTH + more)) == (DEEP if more > 0 else None)


@pytest.mark.parametrize("depth", [1000, 200_000])
def test_endless_json_nesting_is_refused(depth: int) -> None:
    for body in (arrays(depth), objects(depth), b"[" * depth, b'{"a":' * depth):
        told = refusal_of(body)
        assert told is not None
        assert told.startswith("the body is not usable JSON: ")


@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize(
    "before", [b"", pytest.param(b'"11",' * 10_000, id="behind-many-strings-of-digits")]
)
@pytest.mark.parametrize("number", ["%s", "-%s", '{"a": %s}', "0.%s", "1e%s"])
def test_a_number_is_accepted_up_to_the_digit_limit(number: str, before: bytes, more: int) -> None:
    body = b"[" + before + (number % ("1" * (MAX_DIGITS + more))).encode() + b"]"
    assert refusal_of(body) == (LONG if more > 0 else None)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1" * 10_000, id="digits"),
        pytest.param("[" * 10_000, id="brackets"),
        pytest.param('\\"[' * 5_000, id="escaped-quotes-and-brackets"),
        pytest.param("\\\\" * 5_000, id="escaped-backslashes"),
    ],
)
def test_digits_and_brackets_within_a_string_do_not_count_towards_the_limits(text: str) -> None:
    assert refusal_of(f'["{text}",{{"{text}":1}}]'.encode()) is None


VALUES = st.recursive(
    st.integers() | st.text('[]{}"\\1', max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text('[{"\\'), inner, max_size=2)
    ),
    max_leaves=20,
)


def depth_of(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    inside = value.values() if isinstance(value, dict) else value
    return 1 + max(map(depth_of, inside), default=0)


@given(VALUES, st.integers(0, MAX_DEPTH + 2))
def test_json_depth_is_checked_for_the_nested_value_itself(value: object, around: int) -> None:
    text = b"[" * around + json.dumps(value).encode() + b"]" * around
    if depth_of(value) + around > MAX_DEPTH:
        with pytest.raises(ValueError, match="nested"):
            check_readable(text)
    else:
        check_readable(text)
