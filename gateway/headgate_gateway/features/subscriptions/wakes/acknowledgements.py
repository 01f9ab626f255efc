"""Requests that acknowledge a wake: their parts, and the moves of cursors that they ask for."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from headgate_gateway.errors import BadRequest
from headgate_gateway.features.subscriptions.delivery.keys import TokenScope
from headgate_gateway.features.subscriptions.errors import (
    SubscriptionRefused,
    invalid,
    invalid_offset,
)
from headgate_gateway.features.subscriptions.state.configuration import json_object
from headgate_gateway.features.subscriptions.state.patterns import stream_name
from headgate_gateway.protocol.streams.offsets import BEGINNING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from headgate_gateway.features.subscriptions.delivery.keys import KeyRing
    from headgate_gateway.features.subscriptions.state.delivery_state import SnapshotEnd
    from headgate_gateway.features.subscriptions.state.subscription import (
        DurableSubscription,
        StreamLink,
    )

_MEMBERS = frozenset(("wake_id", "generation", "acks", "done"))
LEAST_TOKEN_S = 3_600.0  # a token is valid for an hour, or for as long as its lease
LONGEST_TOLD_NAME = 256  # characters of a stream's name in a refusal: a request may have 1 MiB


class Acknowledgement(NamedTuple):
    """A callback, ack or release: the wake that it is for, and the offsets by name of stream."""

    wake_id: object
    generation: object
    acks: Sequence[tuple[str, str]]
    is_done: bool


class CursorChange(NamedTuple):
    """The move of a cursor that was found to be valid."""

    link: StreamLink
    position: int
    is_closed: bool


def parse_acknowledgement(body: bytes) -> Acknowledgement:
    """Return what a body acknowledges. Raises SubscriptionRefused."""
    members = json_object(body, _MEMBERS)
    acks = members.get("acks", [])
    if not isinstance(acks, list) or not all(isinstance(it, dict) for it in acks):
        raise invalid("acks must be an array of objects, each with stream and offset")
    named: list[tuple[str, str]] = []
    for ack in acks:
        name = ack.get("stream", ack.get("path"))
        if not isinstance(name, str):
            raise invalid("an ack has the name of its stream")
        offset = ack.get("offset")
        if not isinstance(offset, str):
            raise invalid("an ack has an offset, which is a text")
        named.append((name, offset))
    is_done = members.get("done", False)
    if not isinstance(is_done, bool):
        raise invalid("done must be true or false")
    return Acknowledgement(members.get("wake_id"), members.get("generation"), named, is_done)


def _link(subscription: DurableSubscription, name: str) -> StreamLink | None:
    """Return the link to a stream, as an ack names it."""
    try:
        return subscription.links.get(stream_name(name))
    except BadRequest:
        return None


def move_of(subscription: DurableSubscription, name: str, offset: str) -> CursorChange:
    """Return the move that an ack asks for. Raises SubscriptionRefused if it is not valid."""
    link = _link(subscription, name)
    state = None if link is None else link.stream.state
    if link is not None and offset == BEGINNING and _is_at_beginning(link):
        return CursorChange(link, link.position, link.is_closed)  # the offset that its wake has
    told = name[:LONGEST_TOLD_NAME]
    if link is None or state is None:
        raise invalid_offset(f"the subscription is linked to no stream {told} that exists")
    try:
        position = state.position(offset)
    except BadRequest as refusal:
        raise invalid_offset(f"the offset is none of the stream {told}: {refusal.detail}") from None
    if position < link.position:
        raise invalid_offset(
            f"the ack of {told} is before {state.offset(link.position)}, its last one"
        )
    if position > state.tail:
        raise invalid_offset(f"the ack of {told} is beyond its tail, {state.offset(state.tail)}")
    end = subscription.snapshot_ends.get(link.stream.path)
    # An ack covers the closing of a stream only if its wake had it.
    is_told = end is not None and end.is_closed and end.stream_id == state.stream_id
    is_closed = is_told and end is not None and position == end.tail
    return CursorChange(link, position, is_closed)


def _is_at_beginning(link: StreamLink) -> bool:
    """Return whether nothing of a stream is acknowledged, or the stream does not exist."""
    state = link.stream.state
    return state is None or link.position == state.beginning


def moves_to(
    subscription: DurableSubscription, ends: Mapping[str, SnapshotEnd]
) -> list[CursorChange]:
    """Return the moves to the ends of the streams in a wake; cursors beyond them stay."""
    moves: list[CursorChange] = []
    for path, end in ends.items():
        link = subscription.links.get(path)
        if link is not None and link.stream_id == end.stream_id and link.position <= end.tail:
            moves.append(CursorChange(link, end.tail, end.is_closed))
    return moves


def token_for(keys: KeyRing, subscription: DurableSubscription, now: float) -> str:
    """Return a token for the present generation of a subscription."""
    generation = subscription.delivery.generation
    return keys.token(TokenScope(subscription.birth, generation, round(now, 3)))


def check_token(keys: KeyRing, token: str, subscription: DurableSubscription, now: float) -> int:
    """Return the generation of a token of this subscription. Raises SubscriptionRefused.

    It is valid for an hour, and for as long as the lease of its generation, which slides.
    """
    scope = keys.scope_of(token)
    if scope is None or scope.birth != subscription.birth:
        raise SubscriptionRefused("TOKEN_INVALID", "the token is not one of this subscription")
    delivery = subscription.delivery
    wake = delivery.wake if scope.generation == delivery.generation else None
    leased_until = 0.0 if wake is None else wake.lease_until or now
    if now > max(scope.issued_at + LEAST_TOKEN_S, leased_until):
        raise SubscriptionRefused("TOKEN_EXPIRED", "the token has expired")
    return scope.generation
