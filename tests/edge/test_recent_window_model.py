"""The window of news against a model of its stream, and at its bounds."""

from __future__ import annotations

import json

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.edge import body_units
from gateway.edge.polls import recent_window
from gateway.edge.polls.recent_window import RecentWindow, WindowBudget
from gateway.protocol.origins.followed import Span
from tests.support.examples import examples

TEXT, JSON = "text/plain", "application/json"


def body(content_type: str, messages: list[str]) -> bytes:
    if content_type == JSON:
        return f"[{','.join(messages)}]".encode()
    return "".join(messages).encode()


class Followed(RuleBasedStateMachine):
    """A stream of messages whose offsets tell nothing but their order, and what is known of it."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[str] = []
        self.heard = 0  # messages that the window was told of, from the first one on

    @initialize(
        content_type=st.sampled_from([TEXT, JSON]),
        before=st.integers(0, 5),
        most=st.sampled_from([body_units.MOST_COUNTED, 2]),
        pieces=st.sampled_from([recent_window.MAX_PIECES, 3]),
    )
    def begin(self, content_type: str, before: int, most: int, pieces: int) -> None:
        self.content_type = content_type
        self.bounds = pytest.MonkeyPatch()
        self.bounds.setattr(body_units, "MOST_COUNTED", most)
        self.bounds.setattr(recent_window, "MAX_PIECES", pieces)
        for number in range(before):
            self.write(str(number))
        self.heard = before
        self.window = RecentWindow(content_type, self.offset(before), WindowBudget(1 << 30))

    def teardown(self) -> None:
        if hasattr(self, "bounds"):
            self.bounds.undo()

    def write(self, text: str) -> None:
        value = json.dumps(text) if self.content_type == JSON else text
        self.messages.append(value)

    @staticmethod
    def offset(at: int) -> str:
        return f"{at:06}"

    def span(self, start: int, end: int) -> Span:
        found = body(self.content_type, self.messages[start:end])
        return Span(self.offset(start), self.offset(end), found)

    @rule(texts=st.lists(st.text('ab,]"[ ', min_size=1, max_size=4), min_size=1, max_size=4))
    def is_written(self, texts: list[str]) -> None:
        for text in texts:
            self.write(text)

    @rule(count=st.integers(1, 5))
    def news_come(self, count: int) -> None:
        end = min(len(self.messages), self.heard + count)
        if end > self.heard:
            self.window.append(self.span(self.heard, end))
            self.heard = end

    @rule(start=st.integers(0, 40), length=st.integers(0, 10))
    def somebody_reads(self, start: int, length: int) -> None:
        """Maybe further than the news have come."""
        start = min(start, len(self.messages))
        self.window.learn(*self.span(start, min(start + length, len(self.messages))))

    @invariant()
    def what_is_given_is_right(self) -> None:
        if not hasattr(self, "window"):
            return
        for at in range(len(self.messages) + 1):
            span = self.window.since(self.offset(at))
            if span is None:
                continue
            assert at < self.heard
            assert (span.start, span.end) == (self.offset(at), self.offset(self.heard))
            assert self.parsed(span.body) == self.parsed(self.span(at, self.heard).body)

    def parsed(self, found: bytes) -> object:
        return json.loads(found) if self.content_type == JSON else found


TestFollowed = Followed.TestCase
TestFollowed.settings = settings(max_examples=examples(150), stateful_step_count=25)


def news(*bodies: bytes, content_type: str = TEXT) -> RecentWindow:
    """A window with news from offset 0 on."""
    made = RecentWindow(content_type, "0", WindowBudget(1 << 30))
    for number, one in enumerate(bodies):
        made.append(Span(str(number), str(number + 1), one))
    return made


@pytest.mark.parametrize(
    ("offset", "rest"),
    [("0", b"abcde"), ("1", b"cde"), ("2", b"e"), ("3", None), ("4", None), ("x", None)],
)
def test_the_window_returns_the_rest_after_each_piece_boundary(
    offset: str, rest: bytes | None
) -> None:
    span = news(b"ab", b"cd", b"e").since(offset)
    assert span == (None if rest is None else Span(offset, "3", rest))


def test_the_window_returns_the_rest_of_a_text_piece_at_a_learned_offset() -> None:
    made = news(b"abcd", b"e")
    assert made.since("0.5") is None
    made.learn("0", "0.5", b"a")
    assert made.since("0.5") == Span("0.5", "2", b"bcde")


def test_the_window_returns_the_rest_of_a_json_piece_at_a_learned_offset() -> None:
    made = news(b'[1, {"a": [2]}, 3]', b"[4]", content_type=JSON)
    made.learn("0", "0.5", b"[1]")
    assert made.since("0.5") == Span("0.5", "2", b'[{"a": [2]},3,4]')


def test_an_offset_within_a_piece_is_learned_from_a_read_that_starts_there() -> None:
    made = news(b"abcd", b"e")
    made.learn("0.5", "1", b"bcd")
    assert made.since("0.5") == Span("0.5", "2", b"bcde")


def test_an_offset_ahead_of_the_window_gets_the_rest_of_the_next_piece() -> None:
    made = news(b"ab")
    made.learn("1", "1.5", b"c")
    assert made.since("1.5") is None
    made.append(Span("1", "2", b"cd"))
    assert made.since("1.5") == Span("1.5", "2", b"d")


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_the_bytes_of_a_window_are_bounded_at_the_edge(
    monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(recent_window, "WINDOW_BYTES", 100)
    made = news(b"a" * 50, b"b" * (50 + size))
    assert (made.since("0") is None) is (size > 0)
    assert made.since("1") is not None
    assert len(made) <= 100


def test_the_learned_offsets_of_a_window_are_bounded_and_the_newest_stays(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(recent_window, "MAX_KNOWN", 4)
    made = news(b"abcdefgh")
    for at in range(1, 7):
        made.learn("0", f"0.{at}", b"abcdefgh"[:at])
    known = [at for at in range(1, 7) if made.since(f"0.{at}") is not None]
    assert len(known) <= 4
    assert known[-1:] == [6]
    made.append(Span("1", "2", b"i"))
    assert made.since("1") == Span("1", "2", b"i")


def test_a_malformed_json_piece_counts_as_one_message() -> None:
    made = news(b"[1,", b"[2]", content_type=JSON)
    assert made.since("1") == Span("1", "2", b"[2]")
