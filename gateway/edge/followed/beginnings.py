"""The writes at paths whose reads may end with a stream being followed.

Nothing else notices a write between the origin's answer and the moment when the stream is followed.
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
    """Reads of one path that may end with its stream being followed, and what was written since."""

    reads: int = 0
    written: Reach = field(default_factory=Reach)


class Beginnings:
    """The beginnings of a route, by path; there are at most as many as live readers."""

    def __init__(self) -> None:
        self._of_path: dict[str, Beginning] = {}

    @contextmanager
    def reading(self, path: str) -> Iterator[None]:
        """Read what is at a path, perhaps to follow it: remember what is written meanwhile."""
        beginning = self._of_path.setdefault(path, Beginning())
        beginning.reads += 1
        try:
            yield
        finally:
            beginning.reads -= 1
            if not beginning.reads:
                del self._of_path[path]

    def since(self, path: str) -> Reach | None:
        """Return what was written since the reads of a path began; None without such reads."""
        beginning = self._of_path.get(path)
        return None if beginning is None else beginning.written

    def written(self, path: str, reach: Reach) -> None:
        """Note a write through this gateway."""
        beginning = self._of_path.get(path)
        if beginning is not None:
            beginning.written = beginning.written.together(reach)

    def deleted(self, path: str) -> None:
        """Forget what was written: it was of a stream that is no more."""
        beginning = self._of_path.get(path)
        if beginning is not None:
            beginning.written = Reach()
