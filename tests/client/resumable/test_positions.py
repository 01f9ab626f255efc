"""resume_at counts code points, and text is cut nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from headgate.resumable import SourceFailed
from headgate.resumable.buffer import JOINED, TextBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.resumable.sources import Tap, chunks, whole
from tests.support.examples import examples

if TYPE_CHECKING:
    from tests.client.resumable.conftest import MakeStreams

TEXT = "e\u0301 🙂👩\u200d🚀 end"  # a combining accent, astral code points, a joined emoji


@pytest.mark.parametrize("resume_at", range(len(TEXT) + 2))
async def test_resume_at_skips_that_many_characters_at_every_position(
    in_memory: MakeStreams, resume_at: int
) -> None:
    producer, tap = in_memory(), Tap()
    creator = await producer.create("a", tap)
    tap.give(TEXT[:2], TEXT[2:])
    reader = await producer.resume("a", resume_at)
    tap.end()
    assert await whole(creator) == TEXT
    assert await whole(reader) == TEXT[resume_at:]


async def test_no_character_is_half_of_a_pair_in_redis(on_redis: MakeStreams) -> None:
    producer, other, tap = on_redis(), on_redis(), Tap()
    await producer.create("a", tap)
    tap.give("🙂" * 1000)
    reader = await other.resume("a", 999)
    tap.give("🚀")
    tap.end()
    assert await whole(reader) == "🙂🚀"


async def test_half_of_a_surrogate_pair_is_an_error(in_memory: MakeStreams) -> None:
    reader = await in_memory().create("a", lambda: chunks("ok", "\ud83d"))
    assert await anext(reader) == "ok"
    with pytest.raises(SourceFailed, match="half of a surrogate pair"):
        await anext(reader)


async def test_a_reader_ahead_of_the_text_gets_only_text_after_its_position(
    in_memory: MakeStreams,
) -> None:
    streams, tap = in_memory(), Tap()
    await streams.create("a", tap)
    reader = await streams.resume("a", 5)
    tap.give("123", "4567")
    tap.end()
    assert await whole(reader) == "67"


@given(st.lists(st.text("ae\u0301🙂", min_size=1), max_size=20), st.data())
@settings(max_examples=examples(50))
def test_taking_from_any_position_of_a_buffer_returns_the_rest_of_the_text(
    given_chunks: list[str], data: st.DataObject
) -> None:
    buffer = TextBuffer("a", max_bytes=1_000_000)
    for chunk in given_chunks:
        buffer.append(chunk)
    text = "".join(given_chunks)
    position = data.draw(st.integers(0, len(text) + 3))
    assert buffer.take(position) == text[position:]
    assert buffer.end == len(text)


def test_taking_from_a_buffer_joins_small_chunks_and_splits_none() -> None:
    buffer = TextBuffer("a", max_bytes=10_000_000)
    for chunk in ("a" * (JOINED - 1), "b", "c" * JOINED, "d" * 2 * JOINED, "e"):
        buffer.append(chunk)
    taken, position = [], 0
    while text := buffer.take(position):
        taken.append({letter: text.count(letter) for letter in dict.fromkeys(text)})
        position += len(text)
    assert taken == [{"a": JOINED - 1, "b": 1}, {"c": JOINED}, {"d": 2 * JOINED}, {"e": 1}]
