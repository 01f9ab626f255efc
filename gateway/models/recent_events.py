"""The latest durable events of a running answer, in memory for readers that keep up."""

from __future__ import annotations

from collections import deque

# Bytes of events; slower readers read the log.
RECENT_BYTES = 64 * 1024


class RecentEvents:
    """Events that end at `position`, the end of the durable bytes."""

    __slots__ = ("_parts", "_size", "position")

    def __init__(self, position: int) -> None:
        """Begin with the events behind `position`."""
        self.position = position
        self._parts: deque[tuple[int, bytes]] = deque()  # each with its position
        self._size = 0

    def add(self, events: bytes, position: int) -> None:
        """Add durable events that end at `position`."""
        if position - len(events) != self.position:  # bytes in between were stored and not added
            self._parts.clear()
            self._size = 0
        self.position = position
        self._parts.append((position - len(events), events))
        self._size += len(events)
        while self._size > RECENT_BYTES and len(self._parts) > 1:
            self._size -= len(self._parts.popleft()[1])

    @property
    def events(self) -> bytes:
        """All durable bytes that are still in memory."""
        return b"".join(part for _, part in self._parts)

    def after(self, position: int) -> bytes | None:
        """Return the durable bytes after `position`; None if they are not in memory any more."""
        if position >= self.position:
            return b""
        if not self._parts or position < self._parts[0][0]:
            return None
        found: list[bytes] = []
        for begin, part in reversed(self._parts):  # a reader that keeps up lacks the last ones
            if begin + len(part) <= position:
                break
            found.append(part[max(0, position - begin) :])
        return b"".join(reversed(found))
