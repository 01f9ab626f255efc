"""Any order of what a client sends and takes, what becomes known, who leaves, and time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.examples import IS_WHOLE
from tests.web.schedules.requests import KINDS
from tests.web.schedules.world import ALL, Move, play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hypothesis.strategies import SearchStrategy

EXAMPLES = 10_000 if IS_WHOLE else 30


def moves(what: str, *how: object) -> SearchStrategy[Move]:
    """Moves of this kind, in one of these ways."""
    return moved(what, st.sampled_from(how))


def moved(what: str, how: SearchStrategy[object]) -> SearchStrategy[Move]:
    """The same with any of the ways of a strategy."""
    return st.builds(Move, st.just(what), how, st.sampled_from([0, 1, 2, 4, ALL]))


GATES = ("commits", "reads", "loads")
ANY = st.lists(st.tuples(st.sampled_from(KINDS), st.booleans()), min_size=1, max_size=4)
AHEAD = st.builds(
    lambda count, more: [("append", False)] * count + more, st.integers(2, 5), st.one_of(ANY, ANY)
)
KEPT = st.one_of(st.just(0), st.integers(0, 300))  # bytes that are sent later
MOVES = st.one_of(
    moved("sends", st.tuples(ANY, KEPT)),
    moved("sends", st.tuples(ANY, st.just(0))),
    moved("sends", st.tuples(AHEAD, KEPT)),
    moved("sends more", st.one_of(st.integers(1, 80), st.just(1 << 20))),
    moves("takes", True, False),
    moves("origin answers", "whole", "begin", "rest", "fail", "cut"),
    st.one_of(moves("shuts", *GATES), moves("opens", *GATES)),
    st.one_of(
        moves("other sends", "append", "append t", "append long", "read s"),
        moves("origin is quick", True, False),
        moves("fails", None),
        moves("is purged", None),
    ),
    st.one_of(moves("leaves", "reset", "gone", "half"), moves("drains", None)),
    moves("passes", 0.05, 0.6, 1.2, 3.1, 7.0, 13.0, 31.0),
)


@settings(max_examples=EXAMPLES, derandomize=not IS_WHOLE)
@given(st.lists(MOVES, min_size=1, max_size=14), st.booleans(), st.booleans())
def test_each_request_gets_one_response_or_a_cut_in_any_schedule_and_leaves_nothing(
    schedule: Sequence[Move], logs: bool, is_tight: bool
) -> None:
    play(schedule, logs=logs, is_tight=is_tight)
