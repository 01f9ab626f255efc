"""Writes during reads that may end with their stream being followed.

Nothing else notices a write between the origin's response to such a read and the moment when the
stream is followed.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.protocol.streams.reach import Reach

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(slots=True)
class Beginning:
    """Reads of one path that may end with its stream being followed, and the writes since then."""

    reads: int = 0
    written: Reach = field(default_factory=Reach)


class Beginnings:
    """The beginnings of a route, by path; there are at most as many as live readers."""

    def __init__(self) -> None:
        self._of_path: dict[str, Beginning] = {}

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Note writes at a path during a read that may end with the stream being followed."""
        beginning = self._of_path.setdefault(path, Beginning())
        beginning.reads += 1
        try:
            yield
        finally:
            beginning.reads -= 1
            if not beginning.reads:
                del self._of_path[path]

    def since(self, path: str) -> Reach | None:
        """Return how far writes reach since the reads of a path began; None without such reads."""
        beginning = self._of_path.get(path)
        return None if beginning is None else beginning.written

    def written(self, path: str, reach: Reach) -> None:
        """Note a write through this gateway."""
        beginning = self._of_path.get(path)
        if beginning is not None:
            beginning.written = beginning.written.together(reach)

    def deleted(self, path: str) -> None:
        """Drop the writes noted at a path: their stream was deleted."""
        beginning = self._of_path.get(path)
        if beginning is not None:
            beginning.written = Reach()
