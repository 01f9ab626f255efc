"""Comparisons of a state that arrives with the state that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.protocol.streams.state import Change, StreamState


def is_same(one: StreamState | None, other: StreamState) -> bool:
    """Return whether both are the same version; a sliding deadline does not count."""
    return one is not None and one.is_along(other) and one.version == other.version


def begins_alike(one: StreamState, other: StreamState) -> bool:
    """Return whether both begin at the same offset of one history."""
    mine, its = ((it.stream_id, it.history, it.first) for it in (one, other))
    return mine == its


def is_behind(received: StreamState | None, known: StreamState | None) -> bool:
    """Return whether the state that arrived, or a later one, is known already."""
    return (
        received is not None
        and known is not None
        and received.stream_id == known.stream_id
        and (received.history, received.version) <= (known.history, known.version)
    )


def is_old(known: StreamState | None, change: Change) -> bool:
    """Return whether a change, or a later one, is known already."""
    state = change.state
    return (
        known is not None
        and known.is_along(state)
        and known.version >= state.version + change.removes
    )


def follows_on(known: StreamState | None, change: Change) -> bool:
    """Return whether a change is the next one after the known state."""
    return known is not None and known.is_along(change.state) and known.version == change.expected


def is_rewritten(known: StreamState | None, state: StreamState) -> bool:
    """Return whether more than the known state's tail is different now."""
    if known is None or known.stream_id != state.stream_id:
        return bool(state.past_generations or state.first)  # the best that a state can show
    return (known.generation, known.first) != (state.generation, state.first)
