"""Limits that an operator sets for one stream: how much of it is kept, how long it lives unused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import UNSET, UnsetType

from gateway.errors import BadRequest
from gateway.protocol.streams.retention import Retention, in_force, with_own
from gateway.protocol.streams.state import LEFT_TO_THE_ROUTE, Change, OwnRetention, StreamState

if TYPE_CHECKING:
    from gateway.protocol.streams.lifetimes import LifetimeLimits
    from gateway.protocol.streams.moments import ClockReading

# A limit that stays as it is, one that is left to the route again, or a number.
Limit = int | UnsetType | None


class LimitChanges(msgspec.Struct, frozen=True):
    """The limits of a stream that change, by the names of the route's settings; 0 means no limit.

    `ttl` is in seconds; None takes it back to the lifetime that the stream was created with.
    """

    retention_age: Limit = UNSET
    retention_size: Limit = UNSET
    retention_messages: Limit = UNSET
    ttl: Limit = UNSET


class StreamLimits(msgspec.Struct, frozen=True):
    """The limits in force for a stream; 0 means none.

    `ttl` is None for a stream that ends at a date. `own` names those that an operator has set.
    """

    retention_age: int
    retention_size: int
    retention_messages: int
    ttl: int | None
    own: tuple[str, ...] = ()


def limits_of(state: StreamState, retention: Retention) -> StreamLimits:
    """Return the limits of a stream whose route has `retention`."""
    kept, own, lifetime = in_force(state, retention), _own(state), state.lifetime
    names = {
        "retention_age": own.max_age_s,
        "retention_size": own.max_bytes,
        "retention_messages": own.max_messages,
        "ttl": state.created_lifetime,
    }
    return StreamLimits(
        kept.max_age_s,
        kept.max_bytes,
        kept.max_messages,
        lifetime.ttl_s or 0 if lifetime.expires_at is None else None,
        tuple(name for name, value in names.items() if value is not None),
    )


def decide_limits(
    state: StreamState,
    changes: LimitChanges,
    now: ClockReading,
    retention: Retention,
    lifetimes: LifetimeLimits,
) -> tuple[Change, ...]:
    """Return the change that gives a stream other limits than its route's.

    Raises BadRequest for a TTL that the stream may not have.
    """
    limited = with_own(
        _with_ttl(state, changes.ttl, now, lifetimes), _merged(state, changes), now.wall, retention
    )
    if limited == state:
        return ()
    later = msgspec.structs.replace(limited, version=state.version + 1)
    return (Change(later, state.version, trims=later.first > state.first),)


def _own(state: StreamState) -> OwnRetention:
    return state.own_retention or LEFT_TO_THE_ROUTE


def _merged(state: StreamState, changes: LimitChanges) -> OwnRetention:
    own = _own(state)
    return OwnRetention(
        own.max_age_s if changes.retention_age is UNSET else changes.retention_age,
        own.max_bytes if changes.retention_size is UNSET else changes.retention_size,
        own.max_messages if changes.retention_messages is UNSET else changes.retention_messages,
    )


def _with_ttl(
    state: StreamState, ttl: Limit, now: ClockReading, lifetimes: LifetimeLimits
) -> StreamState:
    """Return the stream with a TTL, which begins now; a repeated creation must still fit it."""
    if ttl is UNSET:
        return state
    created = state.created_lifetime or state.lifetime
    lifetime = created if ttl is None else lifetimes.of_existing(ttl)
    if lifetime.expires_at is not None and lifetime.expires_at <= now.wall:
        raise BadRequest(
            "the Stream-Expires-At that the stream was created with is over: give a ttl in seconds"
        )
    return msgspec.structs.replace(
        state,
        lifetime=lifetime,
        deadline=lifetime.deadline(now),
        created_lifetime=None if lifetime == created else created,
    )
