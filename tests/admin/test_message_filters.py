"""Filters of messages: what fits, and what hostile paths, values and messages cost."""

from __future__ import annotations

import json

import pytest

from admin.errors import NotTold
from admin.streams.filters import LONGEST_TEXT, MOST_STEPS, MessageFilter, message_filter
from admin.streams.messages import json_offsets, split
from admin.streams.times import place_since
from gateway.features.questions.streams import KnownTime, StreamDescription, StreamRow
from gateway.protocol.streams.offsets import format_offset

CHOICE = b'{"choices": [{"delta": {"content": "Hello"}, "n": 3}], "ok": true, "a.b": null, "": 1}'


def fits(message: bytes, text: str = "", path: str = "", value: str = "") -> bool:
    wanted = message_filter(text, path, value)
    assert wanted is not None
    return wanted.fits(message)


@pytest.mark.parametrize(
    ("conditions", "is_fitting"),
    [
        pytest.param({"text": "hELLO"}, True, id="text-in-another-case"),
        pytest.param({"text": "Hello World"}, False, id="another-text"),
        pytest.param({"path": "choices[0].delta.content"}, True, id="a-path"),
        pytest.param({"path": "$.choices[0].delta.content"}, True, id="a-path-from-the-root"),
        pytest.param({"path": "$['choices'][-1][\"n\"]"}, True, id="a-path-in-brackets"),
        pytest.param({"path": "choices[1]"}, False, id="an-index-behind-the-end"),
        pytest.param({"path": "choices.delta"}, False, id="a-name-in-an-array"),
        pytest.param({"path": "ok[0]"}, False, id="an-index-in-no-array"),
        pytest.param({"path": "$['a.b']"}, True, id="a-name-with-a-point"),
        pytest.param({"path": "$['a.b']", "value": "null"}, True, id="null"),
        pytest.param({"path": "$['']", "value": "1"}, True, id="an-empty-name"),
        pytest.param({"path": "choices[0].n", "value": "3"}, True, id="a-number"),
        pytest.param({"path": "choices[0].n", "value": "3.0"}, True, id="an-equal-number"),
        pytest.param({"path": "choices[0].n", "value": '"3"'}, False, id="a-text-of-a-number"),
        pytest.param({"path": "ok", "value": "true"}, True, id="true"),
        pytest.param({"path": "ok", "value": "1"}, False, id="one-is-not-true"),
        pytest.param({"path": "choices[0].delta", "value": '{"content":"Hello"}'}, True, id="all"),
        pytest.param({"path": "choices[0].delta.content", "value": "Hello"}, True, id="words"),
        pytest.param({"text": "true", "path": "ok", "value": "false"}, False, id="one-of-two"),
    ],
)
def test_a_message_fits_if_all_conditions_hold(
    conditions: dict[str, str], is_fitting: bool
) -> None:
    assert fits(CHOICE, **conditions) == is_fitting


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("$..*", id="descendants"),
        pytest.param("a[*]", id="every-item"),
        pytest.param("a[?(@.b)]", id="a-query"),
        pytest.param("a[0:9]", id="a-slice"),
        pytest.param("a b", id="a-blank"),
        pytest.param("$", id="the-root"),
        pytest.param("a[9999999999]", id="a-long-index"),
        pytest.param('a["\\x"]', id="a-wrong-escape"),
        pytest.param("a['", id="an-open-quote"),
        pytest.param("[" * LONGEST_TEXT, id="many-brackets"),
        pytest.param(".".join("a" * (MOST_STEPS + 1)), id="many-steps"),
    ],
)
def test_a_path_with_more_than_names_and_numbers_is_refused(path: str) -> None:
    with pytest.raises(NotTold, match="path must") as refusal:
        message_filter("", path, "")
    assert refusal.value.status == 400


def test_a_path_has_at_most_the_bounded_number_of_steps() -> None:
    path = ".".join("a" * MOST_STEPS)
    wanted = message_filter("", path, "")
    assert wanted is not None
    assert len(wanted.steps) == MOST_STEPS


@pytest.mark.parametrize("length", [LONGEST_TEXT, LONGEST_TEXT + 1])
def test_a_condition_has_at_most_the_bounded_length(length: int) -> None:
    if length == LONGEST_TEXT:
        assert message_filter("x" * length, "", "") == MessageFilter("x" * length)
    else:
        with pytest.raises(NotTold, match="text has at most 1,024 characters"):
            message_filter("x" * length, "", "")


def test_a_value_needs_a_path_and_no_condition_is_no_filter() -> None:
    assert message_filter("", "", "") is None
    with pytest.raises(NotTold, match="a value needs the path"):
        message_filter("", "", "3")


@pytest.mark.parametrize(
    "message",
    [
        pytest.param(b"[" * 100_000, id="nested-deeply"),
        pytest.param(b'{"a": ', id="cut"),
        pytest.param(b"\xff\xfe", id="no-utf-8"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"a": 1e999}', id="no-number"),
    ],
)
def test_a_hostile_message_fits_no_path(message: bytes) -> None:
    assert not fits(message, path="a.b", value="1")
    assert fits(message + b"needle", text="needle")


def test_a_deeply_nested_value_is_a_text() -> None:
    wanted = message_filter("", "a", "[" * 1000)
    assert wanted is not None
    assert wanted.values == ("[" * 1000,)


# ---------------------------------------------------------------- offsets


def test_each_message_has_its_offset_where_each_is_a_record() -> None:
    start, end = format_offset(2, 100), format_offset(2, 106)
    assert json_offsets([1, 2, 3], start, end) == [
        start,
        format_offset(2, 101),
        format_offset(2, 103),
        end,
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        pytest.param(format_offset(2, 100), format_offset(2, 108), id="one-record-of-three"),
        pytest.param(format_offset(2, 100), format_offset(2, 107), id="records-of-one-and-two"),
        pytest.param(format_offset(1, 100), format_offset(2, 106), id="two-generations"),
        pytest.param("", format_offset(2, 106), id="an-unknown-start"),
        pytest.param("a", "b", id="another-server"),
    ],
)
def test_offsets_between_messages_are_unknown_where_records_cannot_be_told(
    start: str, end: str
) -> None:
    assert json_offsets([1, 2, 3], start, end) == [start or None, None, None, end]


def test_messages_are_shown_with_the_offsets_at_which_they_begin() -> None:
    items = [{"a": 1}, {"b": 2}]
    body = json.dumps(items).encode()
    sizes = [len(json.dumps(it)) for it in items]
    start, end = format_offset(0, 7), format_offset(0, 7 + sum(sizes))
    shown = split("application/json", body, whole=True, next_offset=end, start=start)
    middle = format_offset(0, 7 + sizes[0])
    assert [(it.offset, it.next_offset) for it in shown] == [(start, middle), (middle, end)]


# ---------------------------------------------------------------- times


def described(*times: KnownTime) -> StreamDescription:
    return StreamDescription(StreamRow(name="s"), {}, times=times)


@pytest.mark.parametrize(
    ("since", "offset"), [(9, "-1"), (10, "-1"), (10.5, "a"), (20, "a"), (21, "b")]
)
def test_messages_since_a_time_begin_behind_the_last_place_that_is_older(
    since: float, offset: str
) -> None:
    stream = described(KnownTime(10, "a"), KnownTime(20, "b"))
    assert place_since(stream, since).offset == offset


def test_without_known_times_nothing_begins_at_a_time() -> None:
    with pytest.raises(NotTold, match="knows no times") as refusal:
        place_since(described(), 5)
    assert refusal.value.status == 409
