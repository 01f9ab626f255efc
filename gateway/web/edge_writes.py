"""What a write makes old that passed through: here, and at the other workers of this gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from gateway.protocol.state import Lifetime

if TYPE_CHECKING:
    from gateway.web.edge_route import EdgeRoute


class Write(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One write to a stream. By itself it says that anything may be different there now."""

    prefix: str  # of the route
    path: str
    only_grown: bool = False  # what lies before the old tail is as it was
    deleted: bool = False
    created: Lifetime | None = None
    tail: str | None = None  # where the stream ends now, if the origin has told
    closed: bool = False


def apply(route: EdgeRoute, write: Write) -> None:
    """Forget what has become old, and expect what follows."""
    if write.only_grown:
        route.cache.moved(write.path)
    else:
        route.feeds.forget(write.path)
    if write.created is not None:
        route.lifetimes.created(write.path, write.created)
    if write.deleted:
        route.feeds.deleted(write.path)
    if write.tail is not None:
        route.feeds.written(write.path, write.tail, closed=write.closed)
