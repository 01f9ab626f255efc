"""Generations of one stream: which offsets are still good when a log has lost its last writes.

A log that others serve may come back without what it had acknowledged last. What is appended then
must not go by offsets that readers and caches hold for other bytes, so the generation rises where
the stream then ends, as the leader epoch of Kafka does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.errors import BadRequest, StreamGone
from gateway.protocol.streams.offsets import Offset
from gateway.protocol.streams.state import PastGeneration

if TYPE_CHECKING:
    from gateway.protocol.streams.state import StreamState

ZERO = Offset(0, 0)  # clients know it as the beginning of any stream; a history never gives it out
MICROSECONDS = 10**6
PAST = "offset is past the tail of the stream"
NEVER = "offset was never given out: no stream at this path has been there yet"
MAX_PAST_GENERATIONS = 100  # kept with each stream; offsets of older ones are refused


def raised(state: StreamState, history: int) -> StreamState:
    """Return the stream in a history of the log: a new generation if the history is another one."""
    if state.history == history:
        return state
    past = state.past_generations
    if not past or past[-1].end < state.tail:  # else nothing of this generation is left
        past = (*past, PastGeneration(state.generation, state.tail))[-MAX_PAST_GENERATIONS:]
    # The id makes it the stream's own, so that its offsets fit no other stream.
    generation = history + state.stream_id % MICROSECONDS
    if generation <= state.generation:
        # Somebody's clock is behind. What was given out and lost must not come again under the next
        # history, and the microseconds of two histories are not the same.
        generation = state.generation + 1 + (history + state.stream_id) % MICROSECONDS
    return msgspec.structs.replace(
        state, generation=generation, past_generations=past, history=history
    )


def inherited(source: StreamState, position: int) -> tuple[PastGeneration, ...]:
    """Return the past generations of a fork that branches off at `position`."""
    past: list[PastGeneration] = []
    for one in (*source.past_generations, PastGeneration(source.generation, source.tail)):
        past.append(PastGeneration(one.generation, min(one.end, position)))
        if one.end >= position:
            break
    return tuple(past)


def agreed(source: StreamState, fork: StreamState, position: int) -> int:
    """Return how far, at most `position`, a fork and its source share offsets; -1 for nowhere.

    The source may have lost its tail where the fork did not, as on another node of a cluster.
    """
    past = (*source.past_generations, *fork.past_generations)
    ends = {position, *(min(end, position) for end in (source.tail, *(one.end for one in past)))}
    same = (one for one in ends if one <= source.tail and source.offset(one) == fork.offset(one))
    return max(same, default=-1)


def position_of(state: StreamState, offset: Offset) -> int:
    """Return the position of an offset. Raises StreamGone, or BadRequest for one past the tail."""
    position = reckoned_position(state, offset)
    if position > state.tail:
        raise BadRequest(PAST)
    return position


def reckoned_position(state: StreamState, offset: Offset) -> int:
    """Return the position of an offset that may be past the tail: a client may have computed it.

    Past the tail it stands for future data: an offset of lost data, or of another stream, has
    another generation. Raises StreamGone, or BadRequest for a generation that never was.
    """
    position = offset.position
    if offset.generation > state.generation and not state.history:
        raise BadRequest(NEVER)
    if offset.generation != state.generation:
        _check_past(state, offset)
    if position < state.first:
        raise StreamGone(
            f"what follows offset is no longer kept: the stream begins at "
            f"{state.offset(state.first)} now"
        )
    return position


def _check_past(state: StreamState, offset: Offset) -> None:
    if state.history and offset == ZERO:
        return
    for past in state.past_generations:
        if past.generation == offset.generation:
            if offset.position <= past.end:
                return
            first_offset = state.offset(past.end)
            raise StreamGone(
                f"the log has lost what was before this offset: go on from {first_offset}"
            )
    if offset.generation < state.generation and not state.past_generations:
        raise StreamGone("offset is of an earlier stream at this path: read from the beginning")
    raise StreamGone(
        "offset is of another stream at this path, or of data that the log has lost: "
        "read from the beginning"
    )
