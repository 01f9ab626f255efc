"""Server-sent events, split at any byte, parsed and written."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from headgate.events import (
    Event,
    EventDecoder,
    EventSplitter,
    EventTooLong,
    events_of,
    parse,
    written,
)

TRANSCRIPTS = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b"event: data\ndata: a\n\n", [Event(b"data", b"a")], id="one"),
    pytest.param(b"data: a\n", [], id="unfinished"),
    pytest.param(b"data:a\ndata: b\ndata:  c\ndata\n\n", [Event(b"", b"a\nb\n c\n")], id="lines"),
    pytest.param(
        b"data: a\r\n\r\ndata: b\r\rdata: c\n\n",
        [Event(b"", b"a"), Event(b"", b"b"), Event(b"", b"c")],
        id="ends",
    ),
    pytest.param(b":\n\n: comment\n\nevent: data\n\n", [], id="comments"),
    pytest.param(b"event: x\n\ndata: a\n\n", [Event(b"", b"a")], id="name-forgotten"),
    pytest.param(b"id: 1\nretry: 2\nother: 3\ndata: a:b\n\n", [Event(b"", b"a:b")], id="fields"),
    pytest.param(b"\xef\xbb\xbfdata: a\n\n", [Event(b"", b"a")], id="mark"),
    pytest.param(b"data: \xef\xbb\xbfa\n\n", [Event(b"", b"\xef\xbb\xbfa")], id="mark-inside"),
    pytest.param(
        "data: \u2028é\x85\n\n".encode(), [Event(b"", "\u2028é\x85".encode())], id="unicode"
    ),
    pytest.param(b"data: a\nevent: x\n\n", [Event(b"x", b"a")], id="name-last"),
    pytest.param(b"data: \xff\x0b\x0c\n\n", [Event(b"", b"\xff\x0b\x0c")], id="no-text"),
]


@pytest.mark.parametrize(("sent", "events"), TRANSCRIPTS)
def test_sse_events_are_decoded_equally_from_pieces_of_any_size(
    sent: bytes, events: list[Event]
) -> None:
    for size in (1, 2, 3, len(sent) or 1):
        decoder = EventDecoder()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert [event for piece in pieces for event in decoder.feed(piece)] == events
    followed = [*EventDecoder().feed(sent + b"\n\ndata: tail")]
    assert followed[: len(events)] == events


def test_an_sse_event_is_decoded_with_its_last_byte() -> None:
    decoder = EventDecoder()
    assert [*decoder.feed(b"data: a\r\n\r")] == [Event(b"", b"a")]
    assert [*decoder.feed(b"\ndata: b\n\n")] == [Event(b"", b"b")]


@example([b"", b"data: a\n\n"])
@example([b"data: a\n\ndata: b\r\r", b"data: c\n\n", b"data: d"])
@given(st.lists(st.binary(max_size=8).map(lambda it: it.replace(b"x", b"\n"))))
def test_no_byte_is_changed_or_lost(parts: list[bytes]) -> None:
    splitter = EventSplitter()
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
    splitter = EventSplitter()
    assert splitter.feed(sent) == []
    assert splitter.take_last() == last
    assert splitter.rest() == (b"" if last else sent)


def test_an_event_longer_than_the_bound_is_refused() -> None:
    splitter = EventSplitter(10)
    splitter.feed(b"data: 4567")
    with pytest.raises(EventTooLong, match="over 10 bytes"):
        splitter.feed(b"8")


@example("a\r\nb\rc\nd", b"end", b"7")
@given(st.text(), st.sampled_from([b"", b"end"]), st.sampled_from([b"", b"7"]))
def test_an_event_is_parsed_as_it_was_written(text: str, name: bytes, id_: bytes) -> None:
    data = text.encode()
    lines = b"\n".join(data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"))
    assert parse(written(data, name=name, id=id_)) == Event(name, lines)
