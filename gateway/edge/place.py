"""Where a followed stream is: whose reads of it are one."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Hashable

    from gateway.cache.cached_response import CacheRequest
    from gateway.protocol.edge_target import EdgeCatchUp


class Place(NamedTuple):
    """A stream as one kind of reader sees it, and what the origin is asked for it.

    Nothing in it is of a single reader, but what all of the kind have in common.
    """

    key: Hashable
    request: CacheRequest

    @property
    def read(self) -> EdgeCatchUp:
        """The stream's URL, as a read from somewhere in it."""
        return self.request.read
