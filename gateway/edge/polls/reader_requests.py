"""The credentials that a followed stream is read with where the origin decides who may read."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.edge.rules.cached_response import CacheRequest

# Requests; a stream is requested with each of them before it counts as gone.
MOST = 8
# Statuses that may refuse one reader, and not the next.
DENIALS = frozenset({401, 403, 404, 410})
# Sent to readers that shared a stream: each that asks again gets its own data from the origin.
ONES_OWN = "the origin says that this is for one reader alone: ask again"


class ReaderRequests:
    """The requests that a stream can be read with: the present one, and those of later readers.

    All of them ask for the same stream, each with another reader's credentials. Beyond MOST the
    oldest is dropped. The request of a reader that has left is kept while others read the stream. A
    stream that is one reader's own has a single request.
    """

    def __init__(self, request: CacheRequest) -> None:
        self.request = request
        self.are_apart = False  # the origin has other data for each of them
        self._others: OrderedDict[str, CacheRequest] = OrderedDict()

    def add(self, request: CacheRequest) -> None:
        """Add the request of a reader that was just admitted: its credentials last the longest."""
        name = request.admitted_as
        if not name or not self.request.admitted_as:
            return
        if name == self.request.admitted_as:
            self.request = request
            return
        self._others[name] = request
        self._others.move_to_end(name)
        if len(self._others) >= MOST:
            self._others.popitem(last=False)

    def replace(self, refused: CacheRequest) -> bool:
        """Use another reader's request in place of a refused one; return False if there is none."""
        name = refused.admitted_as
        if not name:
            return False
        if name != self.request.admitted_as:
            self._others.pop(name, None)
            return True  # it was replaced before
        if not self._others:
            return False
        _, self.request = self._others.popitem()
        return True
