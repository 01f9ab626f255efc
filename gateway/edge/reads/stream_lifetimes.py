"""Until when streams live whose creation passed through: a copy must not outlive its stream."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from gateway.protocol.origins.followed import FOREVER

if TYPE_CHECKING:
    from gateway.protocol.streams.state import Lifetime

MAX_LIFETIMES = 10_000  # streams remembered: about 3 MB; the rest are kept as long as any


class StreamLifetimes:
    """The lifetimes of streams by path; the least recently created are forgotten first."""

    def __init__(self) -> None:
        self._lifetimes: OrderedDict[str, Lifetime] = OrderedDict()

    def of(self, path: str) -> Lifetime:
        """Return the known lifetime of a stream."""
        return self._lifetimes.get(path, FOREVER)

    def created(self, path: str, lifetime: Lifetime) -> None:
        """Note the lifetime of a stream that was created or confirmed at `path`."""
        self._lifetimes.pop(path, None)
        if lifetime != FOREVER:
            self._lifetimes[path] = lifetime
        if len(self._lifetimes) > MAX_LIFETIMES:
            self._lifetimes.popitem(last=False)
