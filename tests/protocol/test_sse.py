"""Server-sent events, read back by a parser that knows only the public rules."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.protocol.bodies import sse
from gateway.protocol.bodies.sse import HEARTBEAT, control_event, data_event
from gateway.turns import at_once
from tests.support.event_stream import Event, parse_events

TEXT = "text/plain"
OFFSET = "0000000000000000_0000000000000007"


@pytest.mark.parametrize(
    ("content_type", "body", "event"),
    [
        pytest.param(TEXT, b"a", b"event: data\ndata:a\n\n", id="text"),
        pytest.param(TEXT, b" a", b"event: data\ndata:  a\n\n", id="text-with-a-leading-blank"),
        pytest.param(TEXT, b"a\nb", b"event: data\ndata:a\ndata:b\n\n", id="text-of-two-lines"),
        pytest.param(
            TEXT,
            b"a\r\nb\rc",
            b"event: data\ndata:a\ndata:b\ndata:c\n\n",
            id="text-with-crlf-and-cr",
        ),
        pytest.param(
            TEXT, b"a\n b", b"event: data\ndata:a\ndata:  b\n\n", id="text-with-an-indented-line"
        ),
        pytest.param(TEXT, b"\n", b"event: data\ndata:\ndata:\n\n", id="a-newline"),
        pytest.param(TEXT, b"\n\n", b"event: data\ndata:\ndata:\ndata:\n\n", id="two-newlines"),
        pytest.param(
            "application/json", b'[{"a":1}]', b'event: data\ndata:[{"a":1}]\n\n', id="json"
        ),
        pytest.param(
            "application/octet-stream", b"\x00\xff", b"event: data\ndata:AP8=\n\n", id="bytes"
        ),
        pytest.param(
            "application/octet-stream",
            b"a\nb",
            b"event: data\ndata:YQpi\n\n",
            id="bytes-with-a-newline",
        ),
    ],
)
def test_sse_data_are_lines_for_text_and_base64_for_other_types(
    content_type: str, body: bytes, event: bytes
) -> None:
    assert data_event(content_type, body) == event


LINES = st.sampled_from(
    ["", " ", "  x", "data:", "event: x", "id: 1", ":", "\u2028", "\x85", "\0", "\ufeff", "é"]
) | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
ENDS = st.sampled_from(["\n", "\r\n", "\r", "\n\n"])


@given(
    st.lists(st.tuples(LINES, ENDS), max_size=8),
    LINES,
    st.sampled_from([TEXT, "application/json", "text/markdown; charset=utf-8"]),
)
def test_text_events_are_parsed_back_with_every_line_end_as_lf(
    lines: list[tuple[str, str]], last: str, content_type: str
) -> None:
    body = "".join(line + end for line, end in lines) + last
    events = parse_events(data_event(content_type, body.encode()))
    told = re.sub("\r\n|\r", "\n", body)
    assert events == [Event("data", told)]


@given(st.binary(min_size=1, max_size=200))
def test_binary_events_are_parsed_back_through_base64(body: bytes) -> None:
    (event,) = parse_events(data_event("application/octet-stream", body))
    assert event.name == "data"
    assert b64decode(event.data, validate=True) == body


@pytest.mark.parametrize(
    ("up_to_date", "closed", "told"),
    [
        pytest.param(
            False, False, {"streamNextOffset": OFFSET, "streamCursor": "42"}, id="behind-the-tail"
        ),
        pytest.param(
            True,
            False,
            {"streamNextOffset": OFFSET, "streamCursor": "42", "upToDate": True},
            id="at-the-tail",
        ),
        pytest.param(
            True,
            True,
            {"streamNextOffset": OFFSET, "streamClosed": True, "upToDate": True},
            id="at-the-end-of-a-closed-stream",
        ),
    ],
)
def test_a_control_event_has_the_offset_and_state_of_the_reader(
    up_to_date: bool, closed: bool, told: dict[str, object]
) -> None:
    stream = control_event(OFFSET, 42, up_to_date=up_to_date, closed=closed)
    (event,) = parse_events(stream)
    assert (event.name, json.loads(event.data)) == ("control", told)


def test_heartbeats_between_events_are_ignored_by_a_parser() -> None:
    control = control_event(OFFSET, 1, up_to_date=True, closed=False)
    stream = HEARTBEAT + data_event(TEXT, b"a") + HEARTBEAT + control + data_event(TEXT, b"b")
    names = [(event.name, event.data) for event in parse_events(stream)]
    assert names == [
        ("data", "a"),
        ("control", f'{{"streamNextOffset":"{OFFSET}","streamCursor":"1","upToDate":true}}'),
        ("data", "b"),
    ]


PIECES = st.sampled_from(["\n", "\r", "\r\n", " ", "  ", "a", "data:", "é"])


@given(
    st.lists(PIECES, max_size=30).map("".join), st.integers(1, 5), st.sampled_from([TEXT, "a/b"])
)
def test_a_long_event_made_in_slices_equals_one_made_at_once(
    text: str, size: int, content_type: str
) -> None:
    body = text.encode()
    with patch.object(sse, "SLICE_BYTES", 3 * size):
        event = at_once(sse.long_data_event(content_type, body))
        assert event == sse.data_event(content_type, body)
    assert event == sse.data_event(content_type, body)
    if content_type == TEXT:
        told = re.sub("\r\n|\r", "\n", text)
        assert parse_events(event) == [Event("data", told)]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_body_counts_as_long_if_it_exceeds_a_slice(more: int) -> None:
    body = b"x" * (sse.SLICE_BYTES + more)
    assert sse.is_long(body) is (more > 0)
    assert at_once(sse.long_data_event(TEXT, body)) == sse.data_event(TEXT, body)
