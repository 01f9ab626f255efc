"""Cursors that an operator sets back, so that events are delivered again."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.errors import BadRequest
from gateway.features.questions.subscriptions import MOST_REPLAYED
from gateway.features.subscriptions.errors import invalid, invalid_offset
from gateway.features.subscriptions.state.configuration import check_name
from gateway.protocol.streams.offsets import BEGINNING
from gateway.protocol.streams.state import StreamState

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from gateway.features.subscriptions.engine import RouteSubscriptions
    from gateway.features.subscriptions.state.subscription import DurableSubscription, StreamLink
    from gateway.features.subscriptions.streams import Position, StreamView

_ELSE = "replay from the beginning or an offset"  # where no time is known


class ReplayPlace(NamedTuple):
    """The place from which events are delivered again: an offset, a time, or else the beginning."""

    offset: str | None = None
    since: float | None = None  # epoch seconds


class _CursorBack(NamedTuple):
    link: StreamLink
    stream_id: int
    position: Position


def set_back(
    engine: RouteSubscriptions,
    subscription: DurableSubscription,
    names: Sequence[str],
    start: ReplayPlace,
) -> Generator[None, None, int]:
    """Set cursors back, of all streams if none is named; return how many. Each one is a step.

    Wakes so far are fenced. Raises SubscriptionRefused, and then nothing has changed.
    """
    moves: list[_CursorBack] = []
    for link, state in _choose_links(subscription, names):
        position = _position(link, state, start, is_named=bool(names))
        if position < link.position or (link.is_closed and position < state.tail):
            moves.append(_CursorBack(link, state.stream_id, position))
        yield
    if not moves:
        return 0
    engine.wakes.end(subscription)
    subscription.delivery.generation += 1
    engine.wakes.counts["replayed"] += 1
    for link, stream_id, position in moves:
        yield
        state_now = link.stream.state
        if state_now is not None and state_now.stream_id == stream_id:
            link.set_back(position)
            subscription.note(link)
            engine.rows.mark_link(link)
    engine.wakes.retry_now(subscription)
    return len(moves)


def _choose_links(
    subscription: DurableSubscription, names: Sequence[str]
) -> list[tuple[StreamLink, StreamView]]:
    if len(names) > MOST_REPLAYED:
        raise invalid(f"name {MOST_REPLAYED} streams at most, or none for all")
    if not names:
        links = list(subscription.links.values())
        return [(it, it.stream.state) for it in links if it.stream.state is not None]
    found: dict[str, tuple[StreamLink, StreamView]] = {}
    for name in names:
        path = check_name(name)
        link = subscription.links.get(path)
        if link is None or link.stream.state is None:
            raise invalid_offset(f"the subscription is linked to no stream {name}")
        found[path] = link, link.stream.state
    return list(found.values())


def _position(
    link: StreamLink, state: StreamView, start: ReplayPlace, *, is_named: bool
) -> Position:
    """Return the position of a cursor that is set back; one that is there already stays."""
    earliest = max(state.first, state.beginning)
    if start.offset is not None and start.offset != BEGINNING:
        return _at_offset(link, state, start.offset, earliest, is_named=is_named)
    if start.since is None:
        return earliest
    return max(earliest, _at_time(link, state, start.since))


def _at_offset(
    link: StreamLink, state: StreamView, offset: str, earliest: Position, *, is_named: bool
) -> Position:
    if not is_named:
        raise invalid("an offset belongs to a stream: name it")
    name = link.stream.path
    try:
        position = state.position(offset)
    except BadRequest as refusal:
        raise invalid_offset(f"the offset is none of the stream {name}: {refusal.detail}") from None
    if position > state.tail:
        raise invalid_offset(f"the offset is beyond the tail of {name}, {state.offset(state.tail)}")
    if position < earliest:
        raise invalid_offset(
            f"the offset is before the first one of {name}, {state.offset(earliest)}"
        )
    if position > link.position:
        acked = state.offset(link.position)
        raise invalid_offset(f"the offset is beyond what is acknowledged of {name}, {acked}")
    return position


def _at_time(link: StreamLink, state: StreamView, since: float) -> Position:
    """Return a position with everything behind it that was appended at a time or later."""
    if isinstance(state, StreamState):
        older = [mark.position for mark in state.marks if mark.time < since]
        if older:
            return older[-1]
        if state.marks or (state.created_at is not None and state.created_at >= since):
            return state.beginning
        why = f"the log knows no times of the stream {link.stream.path}: it notes some where a"
        raise invalid_offset(f"{why} retention is set; {_ELSE}")
    raise invalid_offset(f"an origin tells no times of its streams; {_ELSE}")
