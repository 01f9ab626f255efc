"""Folding changes no message: the SDKs make the same of folded deltas, wherever they are cut."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.background import at_once
from gateway.features.compact.folding import fold
from tests.models import answers
from tests.models.accumulators import MESSAGE, data_of
from tests.support.examples import cases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

ANSWERS: dict[str, Callable[[Sequence[str]], list[bytes]]] = {
    "chat completion": answers.chat_completion,
    "response": answers.response,
    "message": answers.message,
}
words = st.lists(st.text(st.characters(codec="utf-8"), max_size=4), min_size=1, max_size=12)


def folded(records: Sequence[bytes], start: int) -> bytes:
    """Return the events that a fold makes of records behind a position."""
    found = at_once(fold("text/event-stream", start, records))
    return b"".join(event.data for event in found)


# To import the SDKs takes seconds of a core.
@pytest.mark.parametrize("kind", cases(ANSWERS, {"chat completion", "response"}, "test_cuts"))
@given(words=words, data=st.data())
def test_a_message_folded_to_any_event_and_then_followed_is_the_same(
    kind: str, words: list[str], data: Any
) -> None:
    events = ANSWERS[kind](words)
    cuts = data.draw(st.lists(st.integers(0, len(events)), max_size=3).map(sorted))
    edges = [0, *cuts, len(events)]
    parts, position = [], 0
    for begin, end in pairwise(edges):
        part = events[begin:end]
        last = end == len(events) and len(cuts) % 2  # the rest is followed as it is, or folded
        parts.append(b"".join(part) if last else folded(part, position))
        position += sum(map(len, part))
    body = b"".join(parts)
    assert MESSAGE[kind](data_of(body)) == MESSAGE[kind](data_of(b"".join(events)))


@pytest.mark.parametrize("kind", ANSWERS)
def test_a_folded_answer_has_one_event_for_each_part(kind: str) -> None:
    few, many = ANSWERS[kind](["x" * 600]), ANSWERS[kind](["xy"] * 300)
    assert len(data_of(folded(many, 0))) == len(data_of(folded(few, 0)))
