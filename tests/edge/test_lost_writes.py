"""An acknowledged write that the origin never shows puts its stream in doubt for a while only."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from gateway.edge.followed import known_state
from gateway.edge.followed.origin_reads import PollResult
from gateway.edge.followed.recent_window import RecentWindow, WindowBudget
from gateway.protocol.streams.offsets import TailBound
from tests.edge.followed_parts import KIND, reading, state_of

if TYPE_CHECKING:
    import pytest

    from gateway.edge.followed.known_state import KnownState

AT_3 = PollResult("3", None, b"", KIND, closed=False, caught_up=True)


def known() -> KnownState:
    return state_of(RecentWindow(KIND, "3", WindowBudget(1 << 20)), reading())


async def test_a_poll_without_a_recent_write_is_not_up_to_date() -> None:
    state = known()
    state.note_write(TailBound("5"))
    sent_at = asyncio.get_running_loop().time()
    assert (state.expected_end, state.note_answer(AT_3, 1.0, sent_at, 0).caught_up) == ("5", False)


async def test_a_write_that_the_origin_lost_is_expected_for_a_limited_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = known()
    state.note_write(TailBound("5"))
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.0)
    sent_at = asyncio.get_running_loop().time()
    assert not state.note_answer(AT_3, 1.0, sent_at - 1.0, 0).caught_up, "it was sent before"
    assert (state.expected_end, state.note_answer(AT_3, 1.0, sent_at, 0).caught_up) == ("3", True)
    assert state.known_end == "5", "an offset that a client may hold is refused when it is lost"


async def test_the_time_to_show_a_write_begins_anew_only_with_a_write_that_goes_further(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = known()
    state.note_write(TailBound("5"))
    monkeypatch.setattr(known_state, "PERSISTS_S", 0.05)
    await asyncio.sleep(0.06)
    state.note_write(TailBound("4"))
    assert state.expected_end == "3", "it shows nothing new"
    state.note_write(TailBound("6"))
    assert state.expected_end == "6"
