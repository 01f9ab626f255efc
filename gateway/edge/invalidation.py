"""What a write that passed through makes old, here or at another worker of this gateway."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.edge.route import EdgeRoute
    from gateway.runtime.writes import Write


def apply(route: EdgeRoute, write: Write) -> None:
    """Forget what has become old, and expect what follows."""
    if write.only_grown:
        route.cache.moved(write.path)
    else:
        route.feeds.reader.forget(write.path)
    if write.created is not None:
        route.lifetimes.created(write.path, write.created)
    if write.deleted:
        route.feeds.deleted(write.path)
    if write.tail is not None:
        route.feeds.written(write.path, write.tail, closed=write.closed)
