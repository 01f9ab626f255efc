"""Generations of a log that may lose its last writes: no offset ever stands for other bytes."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.errors import BadRequest, HeadgateError, StreamGone
from headgate_gateway.protocol.streams.offsets import Offset, format_offset, parse_offset
from headgate_gateway.protocol.streams.state import (
    MAX_PAST_GENERATIONS,
    ZERO,
    PastGeneration,
    Segment,
    StreamState,
    agreed,
    inherited,
    position_of,
    raised,
)

TEXT = "text/plain"
BEGUN = 1000  # the first history, and the generation of what is created under it
replace = msgspec.structs.replace

# Written under three histories: up to 10, up to 25, and now up to 30.
STATE = StreamState(
    "s",
    9,
    3000,
    TEXT,
    tail=30,
    history=3000,
    past_generations=(PastGeneration(1000, 10), PastGeneration(2000, 25)),
)


# ---------------------------------------------------------------- raising


def test_a_stream_in_its_own_history_keeps_its_generation() -> None:
    assert raised(STATE, 3000) is STATE


@pytest.mark.parametrize(
    ("history", "generation"),
    [(4000, 4009), (2992, 3001), (2991, 3001 + 3000), (1, 3001 + 10)],
    ids=["later", "next", "by a slower clock", "by a clock that was set back"],
)
def test_a_stream_in_another_history_gets_a_generation(history: int, generation: int) -> None:
    past_generations = (*STATE.past_generations, PastGeneration(3000, 30))
    assert raised(STATE, history) == replace(
        STATE, generation=generation, past_generations=past_generations, history=history
    )


def test_two_streams_raised_in_one_history_get_different_generations() -> None:
    """Else an offset of one could be taken for one of a fork of the other, at its old path."""
    other = replace(STATE, stream_id=STATE.stream_id + 1)
    assert raised(STATE, 4000).generation != raised(other, 4000).generation


def test_a_generation_without_writes_is_not_recorded() -> None:
    once = raised(STATE, 4000)
    assert raised(once, 5000) == replace(once, generation=5009, history=5000)


def test_an_empty_stream_keeps_its_first_generation_as_the_beginning() -> None:
    state = StreamState("s", 9, 7, TEXT, history=BEGUN)
    twice = raised(raised(state, 2000), 3000)
    assert twice.past_generations == (PastGeneration(7, 0),)
    assert twice.offset(0) == format_offset(7, 0)
    assert replace(twice, tail=1).offset(1) == format_offset(3009, 1)


# ---------------------------------------------------------------- offsets


@pytest.mark.parametrize(
    ("position", "generation"),
    [(0, 1000), (9, 1000), (10, 1000), (11, 2000), (25, 2000), (26, 3000), (30, 3000), (31, 3000)],
)
def test_each_position_keeps_the_generation_of_its_write(position: int, generation: int) -> None:
    assert STATE.offset(position) == format_offset(generation, position)


LOST = "the log has lost what was before this offset: go on from {}"
OTHER = (
    "offset is of another stream at this path, or of data that the log has lost: "
    "read from the beginning"
)
EARLIER = "offset is of an earlier stream at this path: read from the beginning"
NEVER = "offset was never given out: no stream at this path has been there yet"
PLAIN = StreamState("s", 9, 3, TEXT, tail=5)
YOUNG = StreamState("s", 9, 3000, TEXT, tail=5, history=BEGUN)
REFUSED: dict[str, tuple[StreamState, Offset, type[HeadgateError], str]] = {
    "lost-data-of-the-first-generation": (
        STATE,
        Offset(1000, 11),
        StreamGone,
        LOST.format(format_offset(1000, 10)),
    ),
    "lost-data-of-the-second-generation": (
        STATE,
        Offset(2000, 26),
        StreamGone,
        LOST.format(format_offset(2000, 25)),
    ),
    "a-generation-between-two": (STATE, Offset(1500, 12), StreamGone, OTHER),
    "a-generation-before-the-first": (STATE, Offset(999, 0), StreamGone, OTHER),
    "a-generation-after-the-last": (STATE, Offset(3001, 0), StreamGone, OTHER),
    "a-later-generation-past-the-tail": (STATE, Offset(4000, 31), StreamGone, OTHER),
    "past-the-tail": (STATE, Offset(3000, 31), BadRequest, "offset is past the tail of the stream"),
    "a-generation-never-issued": (PLAIN, Offset(4, 0), BadRequest, NEVER),
    "an-earlier-generation-without-history": (YOUNG, Offset(2000, 0), StreamGone, EARLIER),
    "the-zero-offset-without-a-history": (PLAIN, ZERO, StreamGone, EARLIER),
}


@pytest.mark.parametrize(("state", "offset", "kind", "detail"), REFUSED.values(), ids=REFUSED)
def test_an_offset_that_stands_for_no_present_data_is_refused_with_the_reason(
    state: StreamState, offset: Offset, kind: type[HeadgateError], detail: str
) -> None:
    with pytest.raises(kind) as refusal:
        position_of(state, offset)
    assert refusal.value.detail == detail


@pytest.mark.parametrize("tail", [25, 40])
def test_an_offset_of_the_source_after_the_fork_point_is_refused_with_the_reason(tail: int) -> None:
    lineage = (Segment(STATE.stream_id, 25, STATE.path),)
    past = inherited(STATE, 25)
    fork = replace(
        STATE, stream_id=8, generation=9000, tail=tail, lineage=lineage, past_generations=past
    )
    with pytest.raises(StreamGone) as refusal:
        position_of(fork, Offset(2000, 26))
    assert refusal.value.detail == (
        f"the fork does not have what was before this offset: go on from {format_offset(2000, 25)}"
    )
    with pytest.raises(StreamGone) as refusal:
        position_of(fork, Offset(1000, 11))
    assert refusal.value.detail == LOST.format(format_offset(1000, 10))


def test_the_zero_offset_is_the_beginning_in_a_history() -> None:
    assert position_of(STATE, ZERO) == 0


@pytest.mark.parametrize("offset", [Offset(1000, 10), Offset(2000, 19), ZERO])
def test_an_offset_before_the_retained_data_is_refused_with_their_start(offset: Offset) -> None:
    state = replace(STATE, first=20)
    for retained in (Offset(2000, 20), Offset(3000, 30)):
        assert position_of(state, retained) == retained.position
    with pytest.raises(StreamGone) as refusal:
        position_of(state, offset)
    assert refusal.value.detail == (
        f"what follows offset is no longer kept: the stream begins at {format_offset(2000, 20)} now"
    )


@pytest.mark.parametrize(
    "count", [MAX_PAST_GENERATIONS - 1, MAX_PAST_GENERATIONS, MAX_PAST_GENERATIONS + 1]
)
def test_past_generations_are_bounded_and_offsets_of_dropped_ones_are_refused(count: int) -> None:
    """The position that the oldest stands for is refused then, never taken for another."""
    state = StreamState("s", 9, BEGUN, TEXT, tail=1, history=BEGUN)
    given_out = [parse_offset(state.offset(1), "offset")]
    for number in range(1, count + 1):
        state = raised(state, BEGUN + number)
        state = replace(state, tail=state.tail + 1)
        given_out.append(parse_offset(state.offset(state.tail), "offset"))
    assert len(state.past_generations) == min(count, MAX_PAST_GENERATIONS)
    forgotten = max(0, count - MAX_PAST_GENERATIONS)
    for offset in given_out[:forgotten]:
        with pytest.raises(StreamGone):
            position_of(state, offset)
    assert [position_of(state, offset) for offset in given_out[forgotten:]] == list(
        range(forgotten + 1, count + 2)
    )


# ---------------------------------------------------------------- the whole


class ClockReading(NamedTuple):
    """A stream as its log had it once, and what was in it."""

    state: StreamState
    content: tuple[int, ...]


class History:
    """A log that may be put back to any moment, and what its readers were ever told."""

    def __init__(self) -> None:
        self.history = BEGUN
        self.moments = [ClockReading(StreamState("s", 9, BEGUN, TEXT, history=BEGUN), ())]
        self.given_out: dict[str, tuple[int, ...]] = {}
        self.tokens = 0
        self.tell()

    @property
    def now(self) -> ClockReading:
        return self.moments[-1]

    def append(self, size: int) -> None:
        """Whoever appends goes by the stream as it is in the present history."""
        state = raised(self.now.state, self.history)
        content = self.now.content + tuple(range(self.tokens, self.tokens + size))
        self.tokens += size
        state = replace(state, version=state.version + 1, tail=len(content))
        self.moments.append(ClockReading(state, content))
        self.tell()

    def restart(self, step: int) -> None:
        """In a history that nobody had before; nothing is lost."""
        self.history += step
        self.tell()

    def lose(self, back: int, step: int) -> None:
        """The log is as it was before, and of that its server knows nothing."""
        self.moments.append(self.moments[max(0, len(self.moments) - 1 - back)])
        self.restart(step)

    def tell(self) -> None:
        """Give out every offset there is, and check that each stands for what it always did."""
        state = raised(self.now.state, self.history)
        texts = [state.offset(position) for position in range(state.tail + 1)]
        assert texts == sorted(texts)
        for position, text in enumerate(texts):
            prefix = self.now.content[:position]
            assert self.given_out.setdefault(text, prefix) == prefix
            assert position_of(state, parse_offset(text, "offset")) == position


STEPS = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 4)),
    st.tuples(st.just("restart"), st.integers(1, 3)),
    st.tuples(st.just("lose"), st.integers(1, 6), st.integers(1, 3)),
)


def lived(steps: list[tuple[str | int, ...]]) -> History:
    history = History()
    for step in steps:
        match step:
            case ("append", int(size)):
                history.append(size)
            case ("restart", int(by)):
                history.restart(by)
            case ("lose", int(back), int(by)):
                history.lose(back, by)
            case _:
                raise AssertionError(step)
    return history


@given(st.lists(STEPS, max_size=40))
def test_an_issued_offset_maps_to_its_prefix_alone_or_is_refused_after_a_loss(
    steps: list[tuple[str | int, ...]],
) -> None:
    """`History.tell` checks after each step that no offset stands for two prefixes."""
    history = lived(steps)
    state = raised(history.now.state, history.history)
    for text, prefix in history.given_out.items():
        offset = parse_offset(text, "offset")
        if history.now.content[: len(prefix)] == prefix:
            assert position_of(state, offset) == len(prefix)
        else:
            with pytest.raises(StreamGone):
                position_of(state, offset)


@pytest.mark.parametrize("kept", [0, 5, 10, 11, 25, 29, 30])
@pytest.mark.parametrize("regrown", [False, True])
def test_a_fork_agrees_with_its_source_up_to_its_lost_tail(kept: int, regrown: bool) -> None:
    fork = replace(
        STATE, stream_id=8, generation=9000, tail=40, past_generations=inherited(STATE, 30)
    )
    past_generations = tuple(one for one in STATE.past_generations if one.end < kept)
    generation = next((one.generation for one in STATE.past_generations if one.end >= kept), 3000)
    lost = raised(
        replace(STATE, tail=kept, generation=generation, past_generations=past_generations), 4000
    )
    if regrown:
        lost = replace(lost, tail=100)
    assert agreed(lost, fork, 30) == kept
    assert agreed(lost, fork, 5) == min(kept, 5)
    assert agreed(STATE, fork, 30) == 30


@given(st.lists(STEPS, max_size=30), st.integers(0, 200))
def test_offsets_of_a_fork_and_its_source_map_to_equal_positions(
    steps: list[tuple[str | int, ...]], at: int
) -> None:
    history = lived(steps)
    source = raised(history.now.state, history.history)
    position = min(at, source.tail)
    fork = replace(
        source,
        stream_id=10,
        generation=history.history + 10,
        tail=position + 2,
        past_generations=inherited(source, position),
    )
    for place in range(position + 1):
        assert fork.offset(place) == source.offset(place)
    places = range(fork.tail + 1)
    assert [position_of(fork, parse_offset(fork.offset(n), "offset")) for n in places] == list(
        places
    )
    for place in (position + 1, position + 2):
        assert fork.offset(place) not in history.given_out
