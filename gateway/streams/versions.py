"""How what is told of a stream compares with what is known of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.protocol.streams.state import Change, StreamState


def is_same(one: StreamState | None, other: StreamState) -> bool:
    """Whether both are the same moment; a sliding deadline does not count."""
    return one is not None and one.is_along(other) and one.version == other.version


def begins_alike(one: StreamState, other: StreamState) -> bool:
    """Whether both begin at the same place, and none of it was lost in between."""
    mine, its = ((it.stream_id, it.history, it.first) for it in (one, other))
    return mine == its


def is_behind(told: StreamState | None, known: StreamState | None) -> bool:
    """Whether what was told, or more, is known already."""
    return (
        told is not None
        and known is not None
        and told.stream_id == known.stream_id
        and (told.history, told.version) <= (known.history, known.version)
    )


def is_old(known: StreamState | None, change: Change) -> bool:
    """Whether a change was heard of before, or something later in its place."""
    state = change.state
    return (
        known is not None
        and known.is_along(state)
        and known.version >= state.version + change.removes
    )


def follows_on(known: StreamState | None, change: Change) -> bool:
    """Whether a change is the next after what is known."""
    return known is not None and known.is_along(change.state) and known.version == change.expected


def is_rewritten(known: StreamState | None, state: StreamState) -> bool:
    """Whether more than what reached the tail is no longer as it was when the stream was known."""
    if known is None or known.stream_id != state.stream_id:
        return bool(state.past_generations or state.first)  # as far as can be told
    return (known.generation, known.first) != (state.generation, state.first)
