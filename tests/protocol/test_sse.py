"""Server-sent events, read back by a parser that knows only the public rules."""

from __future__ import annotations

import re
from base64 import b64decode
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.background import at_once
from headgate_gateway.protocol.bodies import content
from headgate_gateway.protocol.bodies.content import (
    EVENT_SLICE_BYTES,
    HEARTBEAT,
    control_event,
    data_event,
    is_long_event,
    long_data_event,
)
from tests.support.event_stream import Event, parse_events

TEXT = "text/plain"
OFFSET = "0000000000000000_0000000000000007"


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
def test_a_long_event_is_equal_if_made_in_slices(text: str, size: int, content_type: str) -> None:
    body = text.encode()
    with patch.object(content, "EVENT_SLICE_BYTES", 3 * size):
        event = at_once(long_data_event(content_type, body))
        assert event == data_event(content_type, body)
    assert event == data_event(content_type, body)
    if content_type == TEXT:
        told = re.sub("\r\n|\r", "\n", text)
        assert parse_events(event) == [Event("data", told)]


@pytest.mark.parametrize("more", [-1, 0, 1])
def test_a_body_counts_as_long_if_it_exceeds_a_slice(more: int) -> None:
    body = b"x" * (EVENT_SLICE_BYTES + more)
    assert is_long_event(body) is (more > 0)
    assert at_once(long_data_event(TEXT, body)) == data_event(TEXT, body)
