"""Whole events of a stream of bytes, and their ids."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import OriginBroken
from gateway.features.models.sse_events import (
    WholeEvents,
    event_fields,
    events_of,
    is_cut_json,
    with_id,
    with_ids,
)

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


@pytest.mark.parametrize(
    ("sent", "last"),
    [(b"data: a\r\r", b"data: a\r\r"), (b"data: a\r", b""), (b"", b"")],
    ids=["whole", "half", "none"],
)
def test_an_event_that_ends_with_cr_is_whole_once_nothing_follows(sent: bytes, last: bytes) -> None:
    splitter = WholeEvents()
    assert splitter.feed(sent) == []
    assert splitter.take_last() == last
    assert splitter.rest() == (b"" if last else sent)


def test_an_event_longer_than_the_bound_is_refused() -> None:
    splitter = WholeEvents(10)
    splitter.feed(b"data: 4567")
    with pytest.raises(OriginBroken, match="over 10 bytes"):
        splitter.feed(b"8")


def test_each_event_has_the_offset_of_its_end_as_id_after_its_own_lines() -> None:
    events = b"data: a\n\ndata: bc\r\r"
    assert with_ids([*events_of(events)], 100, str) == b"data: a\nid: 109\n\ndata: bc\nid: 119\n\n"


BLOCKS = {
    "data": (b"data: a\n\n", b"data: a\nid: 7\n\n"),
    "data without a blank": (b"data:a\n\n", b"data:a\nid: 7\n\n"),
    "empty data": (b"data\n\n", b"data\nid: 7\n\n"),
    "CR LF": (b"event: x\r\ndata: a\r\n\r\n", b"event: x\r\ndata: a\nid: 7\n\n"),
    "CR": (b"event: x\rdata: a\r\r", b"event: x\rdata: a\nid: 7\n\n"),
    "an id before the data": (b"id: up\ndata: a\n\n", b"id: up\ndata: a\nid: 7\n\n"),
    "an id after the data": (b"data: a\nid: up\n\n", b"data: a\nid: up\nid: 7\n\n"),
    "a third line end before it": (b"\ndata: a\n\n", b"data: a\nid: 7\n\n"),
    "line ends alone": (b"\r\n\r\n", b""),
    "a comment": (b": wait\n\n", b": wait\n"),
    "a comment after a blank line": (b"\r\n: wait\r\n\r\n", b": wait\n"),
    "comments with data": (b": wait\ndata: a\n\n", b": wait\ndata: a\nid: 7\n\n"),
    "an unknown field": (b"foo: bar\n\n", b"foo: bar\n"),
    "a field that begins like data": (b"database: 3\n\n", b"database: 3\n"),
    "a word without a colon": (b"ping\n\n", b"ping\n"),
    "a line with a blank": (b" \n\n", b" \n"),
    "a time to wait": (b"retry: 3\n\n", b"retry: 3\n"),
    "a name without data": (b"event: ping\n\n", b""),
    "an id without data": (b"id: up\nid\n\n", b""),
}


@pytest.mark.parametrize(("block", "expected"), BLOCKS.values(), ids=BLOCKS)
def test_a_block_with_data_alone_gets_an_id_and_the_blank_line_after_it(
    block: bytes, expected: bytes
) -> None:
    assert with_id(block, "7") == expected


@given(st.lists(st.sampled_from([block for block, _ in BLOCKS.values()]), max_size=8))
def test_openai_s_decoder_gets_from_numbered_events_the_data_that_parsers_get(
    blocks: list[bytes],
) -> None:
    from openai._streaming import SSEDecoder  # a second, which most processes can do without

    sent = b"".join(blocks)
    expected = [data for _, data in map(event_fields, events_of(sent)) if data is not None]
    body = with_ids([*events_of(sent)], 0, str)
    assert [it.data.encode() for it in SSEDecoder().iter_bytes(iter([body]))] == expected


DATA = {
    "one line": (b"data: a\n\n", (b"", b"a")),
    "a name": (b"event: x\ndata: a\n\n", (b"x", b"a")),
    "several lines": (b"data: a\nevent:x\ndata:b\n\n", (b"x", b"a\nb")),
    "CR": (b"data: a\r\r", (b"", b"a")),
    "none": (b"event: x\n: data\n\n", (b"x", None)),
    "an end amid the name": (b"event: x", (b"x", None)),
    "an end amid the data": (b"event: x\ndata: a\nb", (b"x", b"a")),
    "a line end less": (b"data: a\n", (b"", b"a")),
    "a name after the data": (b"data: a\nevent: x\n\n", (b"x", b"a")),
}


@pytest.mark.parametrize(("event", "fields"), DATA.values(), ids=DATA)
def test_the_data_of_an_event_are_its_lines_together(
    event: bytes, fields: tuple[bytes, bytes | None]
) -> None:
    assert event_fields(event) == fields


CUTS = {b'{"a": 1': True, b'{"a": 1}': False, b"[DONE]": False, b"[DO": True, b"hello": False}


@pytest.mark.parametrize(("data", "is_cut"), CUTS.items(), ids=map(repr, CUTS))
def test_cut_json_is_told_from_other_text(data: bytes, is_cut: bool) -> None:
    assert is_cut_json(data) is is_cut
