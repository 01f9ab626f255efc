"""Whole events of a stream of bytes, and their ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import OriginBroken
from gateway.models import sse_events
from gateway.models.sse_events import NumberedEvents, WholeEvents, events_of

LINE_ENDS = {"LF": b"\n", "CR LF": b"\r\n", "CR": b"\r"}


def blocks(end: bytes) -> list[bytes]:
    """Return three events whose lines end with `end`."""
    return [
        b"data: \xe6\x9d\xb1" + end * 2,
        b"event: x" + end + b"data: a" + end + b"data: b" + end * 2,
        b": ping" + end * 2,
    ]


@pytest.mark.parametrize("end", LINE_ENDS.values(), ids=LINE_ENDS)
def test_events_cut_at_any_byte_come_out_whole(end: bytes) -> None:
    events = blocks(end)
    data = b"".join(events)
    for cut in range(len(data) + 1):
        splitter = WholeEvents()
        first, second = splitter.feed(data[:cut]), splitter.feed(data[cut:])
        assert b"".join([*first, *second, splitter.rest()]) == data
        assert [*first, *second, splitter.rest()][: len(events)] == events


@given(st.lists(st.binary(max_size=8).map(lambda it: it.replace(b"x", b"\n"))))
def test_no_byte_is_changed_or_lost(parts: list[bytes]) -> None:
    splitter = WholeEvents()
    given_out = [event for part in parts for event in splitter.feed(part)]
    data = b"".join(parts)
    assert b"".join([*given_out, splitter.rest()]) == data
    assert [*given_out, *events_of(splitter.rest())] == [*events_of(data)]


def test_an_event_without_an_end_is_the_rest() -> None:
    splitter = WholeEvents()
    assert splitter.feed(b"data: a\n\ndata: b\n") == [b"data: a\n\n"]
    assert splitter.rest() == b"data: b\n"


def test_an_event_longer_than_the_bound_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse_events, "LONGEST_EVENT", 10)
    splitter = WholeEvents()
    splitter.feed(b"data: 4567")
    with pytest.raises(OriginBroken, match="over 10 bytes"):
        splitter.feed(b"8")


def test_each_event_has_the_offset_of_its_end_as_id() -> None:
    ids = NumberedEvents(100, str)
    assert ids.feed(b"data: a\n\ndata: bc\n") == b"id: 109\ndata: a\n\n"
    assert ids.feed(b"\n") == b"id: 119\ndata: bc\n\n"
    assert ids.feed(b"da") == b""
    assert ids.rest() == b"da"


@pytest.mark.parametrize("end", [b"\n", b"\r\n"], ids=["LF", "CR LF"])
def test_comments_and_empty_lines_get_no_id_and_begin_the_next_event(end: bytes) -> None:
    ids = NumberedEvents(0, str)
    comment, event = b": wait" + end + end, b"data: a" + end + end
    assert ids.feed(comment) == b": wait\n"
    assert ids.feed(end + end) == b""
    sent = len(comment) + len(event) + 2 * len(end)
    assert ids.feed(event) == b"id: %d\n%b" % (sent, event)


def test_the_last_event_has_an_id_though_its_lines_end_with_cr() -> None:
    ids = NumberedEvents(0, str)
    assert ids.feed(b"data: a\r\rdata: b\r\r") == b"id: 9\ndata: a\r\r"
    assert ids.rest() == b"id: 18\ndata: b\r\r"
