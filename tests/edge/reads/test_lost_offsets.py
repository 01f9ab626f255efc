"""Clients that come back with an offset of a lost stream are not given the present one's data."""

from __future__ import annotations

from collections import Counter

import pytest

from headgate_gateway.rules.read_rules import (
    AMBIGUOUS_S,
    MAX_HELD_OFFSETS,
    MAX_LOST_STREAMS,
    MAX_PRESENT_OFFSETS,
    MAX_SETBACKS,
    PERSISTS_S,
    REFUSED_S,
    LostOffsets,
    ReplicaLag,
)

KEY = ("h", "/s", (), "")


def lost() -> LostOffsets:
    offsets = LostOffsets()
    offsets.lose(KEY, "02", "09", frozenset({"05", "09"}), 100.0)
    return offsets


@pytest.mark.parametrize(
    ("offset", "is_refused"),
    [("-1", False), ("now", False), ("01", False), ("02", False), ("03", True), ("10", False)],
)
def test_offsets_of_the_lost_stream_beyond_the_common_point_are_refused(
    offset: str, is_refused: bool
) -> None:
    assert lost().refuses(KEY, offset, 100.0) is is_refused


def test_an_offset_sent_from_the_new_stream_is_not_refused() -> None:
    offsets = lost()
    offsets.note(KEY, "04")
    assert not offsets.refuses(KEY, "04", 100.0)
    offsets.note_for_all("/s", "03", 100.0)
    assert not offsets.refuses(KEY, "03", 100.0)


@pytest.mark.parametrize(
    ("is_present", "refused_s", "left"), [(False, REFUSED_S, 0), (True, AMBIGUOUS_S, 1)]
)
def test_offsets_of_a_lost_stream_are_refused_for_a_time_that_depends_on_the_present_stream(
    is_present: bool, refused_s: float, left: int
) -> None:
    offsets = lost()
    if is_present:
        offsets.note(KEY, "05")
    assert offsets.refuses(KEY, "05", 100.0 + refused_s - 1)
    assert len(offsets) == 1
    assert not offsets.refuses(KEY, "05", 100.0 + refused_s)
    assert len(offsets) == left


@pytest.mark.parametrize(("after_s", "left"), [(REFUSED_S - 1, 3), (REFUSED_S, 2)])
@pytest.mark.parametrize("is_write", [True, False])
def test_a_lost_stream_is_dropped_after_the_refusal_time(
    after_s: float, left: int, is_write: bool
) -> None:
    offsets = lost()
    for path in ("/b", "/c"):
        offsets.lose(("h", path, (), ""), "", "09", frozenset(), 101.0)
    if is_write:
        offsets.note_for_all("/d", "04", 100.0 + after_s)
    else:
        offsets.refuses(("h", "/d", (), ""), "04", 100.0 + after_s)
    assert len(offsets) == left


def test_offsets_lost_in_either_of_two_losses_are_refused() -> None:
    offsets = lost()
    offsets.lose(KEY, "07", "08", frozenset({"08"}), 101.0)
    refused = [offset for offset in ("02", "03", "09") if offsets.refuses(KEY, offset, 101.0)]
    assert refused == ["03", "09"]


@pytest.mark.parametrize(("more", "is_refused"), [(0, True), (1, False)])
def test_lost_streams_over_the_limit_drop_the_oldest_loss(more: int, is_refused: bool) -> None:
    offsets = lost()
    for number in range(MAX_LOST_STREAMS - 1 + more):
        offsets.lose(("h", f"/{number}", (), ""), "", "09", frozenset(), 100.0)
    assert offsets.refuses(KEY, "05", 100.0) is is_refused
    assert len(offsets) == MAX_LOST_STREAMS
    assert offsets.forgotten == Counter(losses=more)


@pytest.mark.parametrize(("more", "is_refused"), [(0, True), (1, False)])
def test_an_offset_of_the_new_stream_over_the_limit_ends_all_refusals(
    more: int, is_refused: bool
) -> None:
    offsets = lost()
    for number in range(MAX_PRESENT_OFFSETS + more):
        offsets.note(KEY, f"a{number}")
    assert offsets.refuses(KEY, "05", 100.0) is is_refused
    assert offsets.forgotten == Counter(told=more)


@pytest.mark.parametrize(("more", "is_refused"), [(0, True), (1, False)])
def test_offsets_held_by_readers_over_the_limit_are_dropped_across_losses(
    more: int, is_refused: bool
) -> None:
    offsets = LostOffsets()
    held = frozenset(f"a{number}" for number in range(MAX_HELD_OFFSETS - 1 + more))
    offsets.lose(KEY, "", "", held, 100.0)
    offsets.lose_echoed(KEY, "b", 100.0)
    offsets.lose(KEY, "", "", frozenset({"c"}), 100.0)
    told = [offsets.refuses(KEY, offset, 100.0) for offset in ("a0", "b", "c")]
    assert told == [is_refused, is_refused, True]
    assert offsets.forgotten == Counter(held=more)


def test_an_invented_lost_offset_does_not_change_the_refusal_of_others() -> None:
    offsets = lost()
    offsets.lose_echoed(KEY, "zz", 100.0)
    refused = [one for one in ("02", "03", "09", "10", "zz") if offsets.refuses(KEY, one, 100.0)]
    assert refused == ["03", "09", "zz"]
    offsets.note(KEY, "zz")
    assert not offsets.refuses(KEY, "zz", 100.0)


def test_a_read_that_ends_too_soon_is_no_lag_after_persists_s() -> None:
    lag = ReplicaLag()
    seen = [lag.saw("/s", "9", at) for at in (100.0, 101.0, 100.0 + PERSISTS_S)]
    assert seen == [False, False, True]
    assert not lag.saw("/s", "8", 100.0 + PERSISTS_S)
    assert not lag.saw("/t", "9", 100.0 + PERSISTS_S)


def test_a_response_that_reaches_the_offset_restarts_the_lag_time() -> None:
    lag = ReplicaLag()
    assert not lag.saw("/s", "9", 100.0)
    lag.reached("/s", "8")
    lag.reached("/s", "9")
    assert not lag.saw("/s", "9", 100.0 + PERSISTS_S)


def test_the_oldest_noted_lag_is_dropped_at_the_bound() -> None:
    lag = ReplicaLag()
    for number in range(MAX_SETBACKS):
        lag.saw("/s", str(number), 100.0)
    lag.saw("/s", "0", 101.0)  # used again
    lag.saw("/s", "one more", 101.0)
    assert len(lag) == MAX_SETBACKS
    assert lag.saw("/s", "0", 100.0 + PERSISTS_S)
    assert not lag.saw("/s", "1", 100.0 + PERSISTS_S)
