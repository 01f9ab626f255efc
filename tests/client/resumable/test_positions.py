"""resume_at counts code points, and text is cut nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from headgate import SourceFailed

from tests.client.resumable.sources import Tap, chunks, whole

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
