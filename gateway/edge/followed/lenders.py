"""Whose credentials a followed stream is read with, where the origin decides who may read."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.cache.rules.cached_response import CacheRequest

# A stream that is gone is asked for once with each before that is believed.
MOST = 8
# What tells one reader, and perhaps not the next one, that there is nothing for him.
DENIALS = frozenset({401, 403, 404, 410})


class Lenders:
    """One request for the stream at a time, and those of others who were admitted since.

    All of them ask for the same, each in the name of another reader. Beyond MOST the one who came
    first is forgotten; one who has left is not, while others read the stream. A stream that is one
    reader's own has one request for good.
    """

    def __init__(self, request: CacheRequest) -> None:
        self.request = request
        self.are_apart = False  # the origin has something else for each of them
        self._others: OrderedDict[str, CacheRequest] = OrderedDict()

    def add(self, request: CacheRequest) -> None:
        """One more reader was admitted: his credentials are the last to be refused."""
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
        """Go on in another's name than the one that was refused; whether there is one."""
        name = refused.admitted_as
        if not name:
            return False
        if name != self.request.admitted_as:
            self._others.pop(name, None)
            return True  # somebody has replaced it already
        if not self._others:
            return False
        _, self.request = self._others.popitem()
        return True
