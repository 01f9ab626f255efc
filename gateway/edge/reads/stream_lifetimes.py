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
        self.by_path: OrderedDict[str, Lifetime] = OrderedDict()

    def created(self, path: str, lifetime: Lifetime) -> None:
        """Note the lifetime of a stream that was created or confirmed at `path`."""
        self.by_path.pop(path, None)
        if lifetime != FOREVER:
            self.by_path[path] = lifetime
        if len(self.by_path) > MAX_LIFETIMES:
            self.by_path.popitem(last=False)
