"""The documents of a log in memory."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class MemoryDocuments:
    """Documents in a dict, which ends with the process."""

    private_folder = None

    def __init__(self, bodies: dict[str, bytes]) -> None:
        self._bodies = bodies

    async def read(self, after: str, limit: int) -> Sequence[tuple[str, bytes]]:
        """Return the first documents, at most `limit`, whose names follow `after`, by name."""
        names = heapq.nsmallest(limit, (name for name in self._bodies if name > after))
        return [(name, self._bodies[name]) for name in names]

    async def read_one(self, name: str) -> bytes | None:
        """Return a document, or None."""
        return self._bodies.get(name)

    async def write(self, changes: Mapping[str, bytes | None]) -> None:
        """Store these documents, or remove those that are None."""
        for name, body in changes.items():
            if body is None:
                self._bodies.pop(name, None)
            else:
                self._bodies[name] = body
