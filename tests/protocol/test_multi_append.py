"""Multi-appends: what is taken apart, what is refused; JSON in one go and in steps alike."""

from __future__ import annotations

import contextlib
import json
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate_gateway.background import at_once
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies import json_text, multi_append
from headgate_gateway.protocol.bodies.json_text import SLICE_BYTES
from headgate_gateway.protocol.bodies.multi_append import (
    MAX_MESSAGES,
    NO_MESSAGE,
    is_multi,
    long_multi_records,
    messages_of,
    multi_records,
)
from headgate_gateway.protocol.requests import parse_append_head, parse_create
from tests.protocol.test_content import JSON, SPACE, VALUES
from tests.support.multi_append import MULTI, framed

TEXT = "text/plain"
CHUNKS = st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=20)
MUCH = b'"' + b"x" * SLICE_BYTES + b'"'


def refusal_of(body: bytes) -> str:
    with pytest.raises(BadRequest) as refusal:
        messages_of(body)
    return refusal.value.detail


@given(CHUNKS)
@example([b"\0\0\0\1a"])
@example([b"a" * 300, b"\xff" * 70_000])
def test_framed_messages_are_parsed_back_unchanged(messages: list[bytes]) -> None:
    assert messages_of(framed(messages)) == messages
    assert multi_records(TEXT, framed(messages)) == (messages, len(messages))


EMPTY, CUT = "message {} is empty: each must have a byte", "message {} is cut: its length is "
NO_LENGTH = "1 bytes follow the last message, too few for a length"
MALFORMED = {
    "no-message": (b"", NO_MESSAGE),
    "one-byte-of-a-length": (b"\0", NO_LENGTH),
    "a-length-of-zero": (b"\0\0\0\0", EMPTY.format(1)),
    "a-length-without-a-message": (b"\0\0\0\1", CUT.format(1) + "1, and 0 bytes follow"),
    "the-highest-length": (
        b"\xff\xff\xff\xffabcd",
        CUT.format(1) + "4,294,967,295, and 4 bytes follow",
    ),
    "a-second-message-that-is-cut": (
        framed([b"ab", b"c"])[:-1],
        CUT.format(2) + "1, and 0 bytes follow",
    ),
    "an-empty-message-between-two": (framed([b"ab", b"", b"c"]), EMPTY.format(2)),
}


@pytest.mark.parametrize(("body", "detail"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_frame_is_refused_with_the_reason(body: bytes, detail: str) -> None:
    assert refusal_of(body) == detail


@given(st.integers(1, 30), st.integers(1, 20), st.data())
def test_messages_of_one_length_are_parsed_exactly_although_a_byte_is_changed(
    size: int, count: int, data: st.DataObject
) -> None:
    messages = [bytes([number]) * size for number in range(count)]
    body = bytearray(framed(messages))
    assert messages_of(bytes(body)) == messages
    body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    with contextlib.suppress(BadRequest):
        assert framed(messages_of(bytes(body))) == body


@given(st.binary(max_size=60))
def test_an_accepted_multi_append_body_is_framed_back_to_the_same_bytes(body: bytes) -> None:
    try:
        messages = messages_of(body)
    except BadRequest:
        return
    assert framed(messages) == body


@given(CHUNKS, st.data())
def test_a_cut_frame_is_refused_unless_it_ends_with_a_message(
    messages: list[bytes], data: st.DataObject
) -> None:
    whole_frame = framed(messages)
    body = whole_frame[: data.draw(st.integers(0, len(whole_frame) - 1))]
    ends = [len(framed(messages[:count])) for count in range(1, len(messages))]
    if len(body) in ends:
        assert messages_of(body) == messages[: ends.index(len(body)) + 1]
    else:
        refusal_of(body)


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_multi_append_is_accepted_up_to_the_message_limit(more: int) -> None:
    messages = [b"x"] * (MAX_MESSAGES + more)
    if more > 0:
        told = refusal_of(framed(messages))
        assert told == "a multi-append may have 4,096 messages: this one has more"
    else:
        assert messages_of(framed(messages)) == messages


@pytest.mark.parametrize(
    ("value", "asked"), [(None, False), ("true", True), ("TRUE", True), ("True", True)]
)
def test_only_x_stream_multi_true_marks_a_multi_append(value: str | None, asked: bool) -> None:
    headers = {"Content-Type": TEXT} if value is None else {"X-Stream-Multi": value}
    assert is_multi(headers) is asked


@pytest.mark.parametrize("value", ["", "false", "1", "yes", "true, true", " true"])
def test_x_stream_multi_with_another_value_is_refused(value: str) -> None:
    with pytest.raises(BadRequest, match="X-Stream-Multi must be true, or absent"):
        parse_append_head({"X-Stream-Multi": value, "Content-Type": TEXT})


def test_a_closing_multi_append_without_messages_is_refused() -> None:
    with pytest.raises(BadRequest, match=NO_MESSAGE):
        parse_append_head({**MULTI, "Stream-Closed": "true"}).append(b"")


def test_x_stream_multi_on_a_creation_is_refused() -> None:
    with pytest.raises(BadRequest, match="X-Stream-Multi is for POST"):
        parse_create({**MULTI, "Content-Type": TEXT}, framed([b"a"]))


# ---------------------------------------------------------------- JSON


def in_one_go(body: bytes) -> list[bytes] | None:
    """The values; None when they are refused."""
    try:
        values, count = multi_records(JSON, body)
    except BadRequest:
        return None
    assert len(values) == count
    return list(values)


def in_steps(body: bytes, size: int) -> list[bytes] | None:
    """The same by slices of so many bytes."""
    with (
        patch.object(json_text, "SLICE_BYTES", size),
        patch.object(multi_append, "SLICE_BYTES", size),
    ):
        made = at_once(long_multi_records(body))
    return None if isinstance(made, BadRequest) else list(made[0])


@pytest.mark.parametrize(
    ("messages", "values"),
    [
        ([b"1"], [b"1"]),
        ([b"[1, 2]", b"[]"], [b"[1, 2]", b"[]"]),
        pytest.param(
            [b' {"a" : 1.50}\n', b"\tnull"], [b'{"a" : 1.50}', b"null"], id="blanks-around-values"
        ),
        ([b"1,2"], None),
        ([b"[1", b"2]"], None),
        ([b'"a', b'b"'], None),
        ([b"1,[2", b"3],4", b"5"], None),
        pytest.param([b'"\xc3', b'\xa9"'], None, id="a-character-cut-in-two"),
        ([b"1", b" "], None),
        ([b"NaN"], None),
        pytest.param([b"1", b'"\\ud800"'], None, id="a-lone-surrogate"),
        ([b"1 2"], None),
        pytest.param(
            [b"[" * 64 + b"]" * 64, b"1"], [b"[" * 64 + b"]" * 64, b"1"], id="nesting-at-the-limit"
        ),
        pytest.param([b"[" * 65 + b"]" * 65, b"1"], None, id="nesting-over-the-limit"),
        pytest.param([b"1" * 4300], [b"1" * 4300], id="digits-at-the-limit"),
        pytest.param([b"1" * 4301], None, id="digits-over-the-limit"),
    ],
)
def test_each_message_of_a_json_multi_append_is_one_value(
    messages: list[bytes], values: list[bytes] | None
) -> None:
    body = framed(messages)
    assert in_one_go(body) == values
    assert in_steps(body, 16) == values
    # Beside what is long, so that it is taken apart in steps.
    beside = framed([MUCH, *messages, MUCH])
    assert in_steps(beside, SLICE_BYTES) == (None if values is None else [MUCH, *values, MUCH])


@given(st.lists(st.tuples(SPACE, VALUES, SPACE), min_size=1, max_size=8), st.integers(13, 60))
def test_json_values_are_stored_as_sent(items: list[tuple[str, str, str]], size: int) -> None:
    body = framed("".join(item).encode() for item in items)
    values = [value.encode() for _, value, _ in items]
    assert in_one_go(body) == values
    assert in_steps(body, size) == values


@given(st.lists(st.text('[]{},:"\\ 1u\n', min_size=1, max_size=6), min_size=1, max_size=5))
@example(["[1", "2]", "3"])
@example(["1,[2", "3],4", "5"])
@example(["1,2", "[3", "4]"])
def test_a_multi_append_is_accepted_only_if_each_message_alone_is_json(messages: list[str]) -> None:
    values: list[bytes] | None = []
    for message in messages:
        try:
            json.loads(message)
        except ValueError:
            values = None
            break
        assert values is not None
        values.append(message.strip(" \n").encode())
    body = framed(message.encode() for message in messages)
    assert in_one_go(body) == values
    assert in_steps(body, 13) == values


@pytest.mark.parametrize(
    ("messages", "detail"),
    [
        pytest.param(
            [MUCH, MUCH[:-1]],
            "message 2 is not usable JSON: Input data was truncated",
            id="a-long-second-that-is-cut",
        ),
        pytest.param(
            [MUCH, b"1", b"x"],
            "message 3 is not usable JSON: JSON is malformed: invalid character",
            id="a-word-behind-a-long-message",
        ),
        pytest.param(
            [MUCH, b"[" * 70 + b"]" * 70],
            "message 2 is not usable JSON: it is nested more than 64",
            id="nesting-behind-a-long-message",
        ),
    ],
)
def test_an_invalid_json_message_is_named_by_its_number(messages: list[bytes], detail: str) -> None:
    refusal = at_once(long_multi_records(framed(messages)))
    assert isinstance(refusal, BadRequest)
    assert detail in refusal.detail


def test_a_long_malformed_frame_is_refused_in_steps() -> None:
    refusal = at_once(long_multi_records(framed([MUCH]) + b"\0"))
    assert isinstance(refusal, BadRequest)
    assert refusal.detail == NO_LENGTH
