"""Server-sent events, decoded from bytes as they come."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

LINE_END = re.compile(rb"\r\n|\n|\r")
BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True, slots=True)
class Event:
    """A server-sent event; its data stays bytes, since a stream's text need not be valid UTF-8."""

    name: str
    data: bytes


class EventDecoder:
    """Takes an event stream in pieces of any size and gives the events that are complete."""

    def __init__(self) -> None:
        # The pieces of the line that has not ended; joined once, so long lines cost no copies.
        self._line: list[bytes] = []
        # A line ended with CR at the end of a piece: LF may follow and belongs to it.
        self._line_feed_may_follow = False
        self._at_start = True
        self._name = b""
        self._data: list[bytes] = []

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events that `piece` completes."""
        if not piece:
            return
        if self._line_feed_may_follow:
            piece = piece.removeprefix(b"\n")
        self._line_feed_may_follow = piece.endswith(b"\r")
        *ends, rest = LINE_END.split(piece)
        for end in ends:
            line = b"".join((*self._line, end))
            self._line = []
            if self._at_start:
                line = line.removeprefix(BYTE_ORDER_MARK)
                self._at_start = False
            event = self._take(line)
            if event is not None:
                yield event
        self._line.append(rest)

    def _take(self, line: bytes) -> Event | None:
        if line:
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            if name == b"data":
                self._data.append(value)
            elif name == b"event":
                self._name = value
            return None
        event = Event(self._name.decode(errors="replace"), b"\n".join(self._data))
        is_empty = not self._data
        self._name, self._data = b"", []
        return None if is_empty else event
