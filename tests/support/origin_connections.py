"""The connections of a gateway to its origin, as tests count them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate_gateway.origin.client import Origin


def idle_count(origin: Origin) -> int:
    """Return how many connections a request could take at once."""
    idle = [one for connections in origin.pool.by_server.values() for one, _ in connections.idle]
    return sum(connection.transport is not None for connection in idle)
