"""Chunks: where reads begin and end."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate_gateway.protocol.responses import end_of
from headgate_gateway.protocol.streams.chunks import (
    CHUNK_BYTES,
    Chunk,
    boundary,
    empty,
    segments_from,
    start_position,
)
from headgate_gateway.protocol.streams.offsets import NOW, Offset
from headgate_gateway.protocol.streams.state import Segment, StreamState

STATE = StreamState("s", 9, 3, "text/plain", tail=100)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        (0, CHUNK_BYTES),
        (1, CHUNK_BYTES),
        (CHUNK_BYTES - 1, CHUNK_BYTES),
        (CHUNK_BYTES, 2 * CHUNK_BYTES),
        (CHUNK_BYTES + 1, 2 * CHUNK_BYTES),
    ],
)
def test_a_chunk_ends_at_the_next_multiple_of_chunk_bytes(start: int, end: int) -> None:
    assert boundary(start) == end


@given(st.lists(st.integers(1, 90_000), min_size=1, max_size=60), st.data())
def test_readers_from_any_offset_share_chunk_boundaries_after_one_chunk(
    sizes: list[int], data: st.DataObject
) -> None:
    ends = [sum(sizes[: count + 1]) for count in range(len(sizes))]

    def chain(start: int) -> list[int]:
        visited = []
        while start < ends[-1]:
            start = next((end for end in ends if end >= boundary(start)), ends[-1])
            visited.append(start)
        return visited

    everybody = chain(0)
    start = data.draw(st.sampled_from([0, *ends]))
    assert set(chain(start)) <= set(everybody)


@pytest.mark.parametrize(
    ("offset", "position"),
    [(None, 0), (NOW, 100), (Offset(3, 0), 0), (Offset(3, 99), 99), (Offset(3, 100), 100)],
)
def test_a_valid_offset_maps_to_its_position(offset: Offset | str | None, position: int) -> None:
    assert start_position(STATE, offset) == position


@pytest.mark.parametrize("past", [1, 2, 10**15])
def test_an_offset_past_the_tail_starts_at_the_tail(past: int) -> None:
    assert start_position(STATE, Offset(3, 100 + past)) == 100


def test_a_read_at_the_tail_is_an_empty_chunk() -> None:
    assert empty(STATE) == Chunk(STATE, 100, 100, ())


@pytest.mark.parametrize(
    ("end", "closed", "claims"),
    [
        (100, False, (True, False, False)),
        (100, True, (True, True, False)),
        (99, False, (False, False, False)),
        (99, True, (False, False, False)),
    ],
)
def test_a_chunk_that_ends_before_the_tail_claims_neither_tail_nor_closure(
    end: int, closed: bool, claims: tuple[bool, bool, bool]
) -> None:
    state = StreamState("s", 9, 3, "text/plain", tail=100, closed=closed)
    chunk = Chunk(state, 0, end, (b"x" * end,))
    end_of_response = end_of(chunk)
    assert (end_of_response.at_tail, end_of_response.closed, chunk.complete) == claims


@pytest.mark.parametrize(
    ("end", "complete"), [(CHUNK_BYTES - 1, False), (CHUNK_BYTES, True), (CHUNK_BYTES + 1, True)]
)
def test_a_chunk_is_complete_only_from_chunk_bytes_on(end: int, complete: bool) -> None:
    state = StreamState("s", 9, 3, "text/plain", tail=end)
    assert Chunk(state, 0, end, (b"x" * end,)).complete is complete


LINEAGE = (Segment(1, 10, "p"), Segment(2, 30, "q"))


@pytest.mark.parametrize(
    ("start", "segments"),
    [
        pytest.param(0, [*LINEAGE, Segment(9, 100, "s")], id="from-the-beginning"),
        pytest.param(9, [*LINEAGE, Segment(9, 100, "s")], id="before-the-first-branch-point"),
        pytest.param(10, [LINEAGE[1], Segment(9, 100, "s")], id="at-the-first-branch-point"),
        pytest.param(29, [LINEAGE[1], Segment(9, 100, "s")], id="before-the-second-branch-point"),
        pytest.param(30, [Segment(9, 100, "s")], id="at-the-second-branch-point"),
        pytest.param(100, [Segment(9, 100, "s")], id="at-the-tail"),
    ],
)
def test_a_fork_is_read_by_the_segments_of_its_lineage(start: int, segments: list[Segment]) -> None:
    state = StreamState("s", 9, 3, "text/plain", tail=100, lineage=LINEAGE)
    assert segments_from(state, start) == segments
