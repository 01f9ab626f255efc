"""The abilities of a shared log by which gateways divide work: an owner, and mailboxes."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from gateway.features.redis.store import store_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from gateway.features.redis.documents import RedisOwnership
    from gateway.features.redis.heartbeats import RedisHeartbeats
    from gateway.features.redis.mailboxes import RedisMailboxes
    from gateway.logs.contract import Log
    from gateway.protocol.streams.state import StreamState


class WorkSharing(NamedTuple):
    """The abilities of a log whose gateways divide work.

    `states` returns the states of streams by path, None where there is no stream; streams whose
    server does not reply are left out.
    """

    heartbeats: RedisHeartbeats
    ownership: RedisOwnership
    mailboxes: RedisMailboxes
    states: Callable[[Sequence[str]], Awaitable[Mapping[str, StreamState | None]]]


def work_sharing_of(log: Log) -> WorkSharing | None:
    """Return the sharing of a log; None for one that no other process writes."""
    if (store := store_of(log)) is None:
        return None
    from gateway.features.redis.documents import RedisOwnership
    from gateway.features.redis.heartbeats import RedisHeartbeats
    from gateway.features.redis.mailboxes import RedisMailboxes
    from gateway.logs.redis.indexes import PathIndex

    assert isinstance(log.listing, PathIndex), "a log in Redis has it"
    return WorkSharing(
        RedisHeartbeats(store), RedisOwnership(store), RedisMailboxes(store), log.listing.states
    )
