from __future__ import annotations

import pytest
from headgate.events import Event, EventDecoder

TRANSCRIPTS = [
    pytest.param(b"", [], id="nothing"),
    pytest.param(b"event: data\ndata: a\n\n", [Event("data", b"a")], id="one"),
    pytest.param(b"data: a\n", [], id="unfinished"),
    pytest.param(b"data:a\ndata: b\ndata:  c\ndata\n\n", [Event("", b"a\nb\n c\n")], id="lines"),
    pytest.param(
        b"data: a\r\n\r\ndata: b\r\rdata: c\n\n",
        [Event("", b"a"), Event("", b"b"), Event("", b"c")],
        id="ends",
    ),
    pytest.param(b":\n\n: comment\n\nevent: data\n\n", [], id="comments"),
    pytest.param(b"event: x\n\ndata: a\n\n", [Event("", b"a")], id="name-forgotten"),
    pytest.param(b"id: 1\nretry: 2\nother: 3\ndata: a:b\n\n", [Event("", b"a:b")], id="fields"),
    pytest.param(b"\xef\xbb\xbfdata: a\n\n", [Event("", b"a")], id="mark"),
    pytest.param(b"data: \xef\xbb\xbfa\n\n", [Event("", b"\xef\xbb\xbfa")], id="mark-inside"),
    pytest.param(
        "data: \u2028é\x85\n\n".encode(), [Event("", "\u2028é\x85".encode())], id="unicode"
    ),
    pytest.param(b"data: \xff\x0b\x0c\n\n", [Event("", b"\xff\x0b\x0c")], id="no-text"),
]


@pytest.mark.parametrize(("sent", "events"), TRANSCRIPTS)
def test_sse_events_are_decoded_equally_from_pieces_of_any_size(
    sent: bytes, events: list[Event]
) -> None:
    for size in (1, 2, 3, len(sent) or 1):
        decoder = EventDecoder()
        pieces = [sent[start : start + size] for start in range(0, len(sent), size)]
        assert [event for piece in pieces for event in decoder.feed(piece)] == events


@pytest.mark.parametrize(("sent", "events"), TRANSCRIPTS)
def test_an_sse_event_is_decoded_equally_whatever_follows_it(
    sent: bytes, events: list[Event]
) -> None:
    decoder = EventDecoder()
    assert [*decoder.feed(sent + b"\n\ndata: tail")][: len(events)] == events


def test_an_sse_event_is_decoded_with_its_last_byte() -> None:
    decoder = EventDecoder()
    assert [*decoder.feed(b"data: a\r\n\r")] == [Event("", b"a")]
    assert [*decoder.feed(b"\ndata: b\n\n")] == [Event("", b"b")]
