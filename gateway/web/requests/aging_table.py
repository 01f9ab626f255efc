"""A bounded table whose entries age in two halves."""

from __future__ import annotations

from typing import Generic, TypeVar

K = TypeVar("K")
V = TypeVar("V")


class AgingTable(Generic[K, V]):
    """At most `most` entries, in a `fresh` half and an old one.

    A look-up moves an entry to the fresh half. When that is full it becomes the old half, and what
    was in the old half is dropped: a flood of entries that never come again drops none that is used
    again within half a table of them. A look-up costs one `fresh.get` mostly.
    """

    __slots__ = ("_half", "_old", "fresh")

    def __init__(self, most: int) -> None:
        self._half = most // 2
        self.fresh: dict[K, V] = {}
        self._old: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.fresh) + len(self._old)

    def find(self, key: K) -> V | None:
        """Return the entry of a key, or None."""
        found = self.fresh.get(key)
        if found is None:
            found = self._old.pop(key, None)
            if found is not None:
                self.add(key, found)
        return found

    def add(self, key: K, value: V) -> None:
        """Add an entry, or replace it."""
        self._old.pop(key, None)
        if len(self.fresh) >= self._half and key not in self.fresh:
            self.fresh, self._old = {}, self.fresh
        self.fresh[key] = value

    def drop(self, key: K) -> None:
        """Drop the entry of a key, if there is one."""
        self.fresh.pop(key, None)
        self._old.pop(key, None)
