"""What the news that are kept of all followed streams may take together."""

from __future__ import annotations

from collections import OrderedDict
from typing import Protocol


class Keeps(Protocol):
    """One who keeps news."""

    def clear(self) -> None:
        """Keep none any more."""


class WindowBudget:
    """`bytes` of all; who had news the longest time ago gives up theirs first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._sizes: OrderedDict[Keeps, int] = OrderedDict()
        self.bytes = 0

    def __repr__(self) -> str:
        return f"<Budget {self.bytes} of {self._max_bytes} bytes, {len(self._sizes)} streams>"

    def take(self, keeper: Keeps, size: int) -> None:
        """Note that somebody keeps so many bytes now, in all."""
        self.bytes += size - self._sizes.pop(keeper, 0)
        if size:
            self._sizes[keeper] = size
        while self.bytes > self._max_bytes:
            oldest, freed = self._sizes.popitem(last=False)
            self.bytes -= freed
            oldest.clear()
