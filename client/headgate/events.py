"""Server-sent events: split, parsed and written (HTML Living Standard, section 9.2)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes. The longest that providers of models send hold an image in base64, of some megabytes.
LONGEST_EVENT = 16 << 20
# A byte order mark, which parsers leave out at the beginning of a stream, and only there.
BOM = b"\xef\xbb\xbf"
_LONGEST_END = 4  # bytes
# Two line ends in a row. A CR LF is one line end, so a CR before a LF is none by itself. Begun with
# a set of bytes, the search is four times as fast. Not `(...)?+`: before Python 3.11.4 it matches
# too much.
_EVENT_END = re.compile(rb"[\r\n](?:(?<=\r)\n|(?<!\r)|(?!\n))(?:\n|\r\n?)")


class EventTooLong(ValueError):
    """An event that is longer than its reader allows."""


class Event(NamedTuple):
    """A server-sent event; both fields stay bytes, because a stream's text may not be UTF-8."""

    name: bytes
    data: bytes


class EventSplitter:
    """The blocks of a stream of bytes that arrives in parts; no byte is changed or lost."""

    __slots__ = ("_longest", "_rest")

    def __init__(self, longest: int = LONGEST_EVENT) -> None:
        """Refuse events of more than `longest` bytes."""
        self._longest = longest
        self._rest = bytearray()  # grows without a copy for each part

    def feed(self, part: bytes) -> list[bytes]:
        """Return the events that are complete now, with their blank lines.

        Raises EventTooLong.
        """
        data = self._rest
        if not data and _is_one_event(part):
            return [part]
        known = max(0, len(data) - _LONGEST_END)
        data += part
        ends = [*event_ends(data, known)]
        if ends and ends[-1] == len(data) and data.endswith(b"\r"):
            ends.pop()  # a LF may follow
        whole = bytes(data[: ends[-1]]) if ends else b""
        del data[: len(whole)]
        if len(data) > self._longest:
            raise EventTooLong(f"an event is over {self._longest} bytes")
        return [whole[begin:end] for begin, end in pairwise((0, *ends))]

    def rest(self) -> bytes:
        """Return the bytes of an incomplete event."""
        return bytes(self._rest)

    def take_last(self) -> bytes:
        """Return the event whose last CR no LF follows any more, and drop it; b"" for none."""
        if len(self._rest) not in event_ends(self._rest):
            return b""
        last = bytes(self._rest)
        self._rest.clear()
        return last


class EventDecoder:
    """Takes an event stream in pieces of any size and gives the events that are complete."""

    def __init__(self, longest: int = LONGEST_EVENT) -> None:
        """Refuse events of more than `longest` bytes."""
        self._splitter = EventSplitter(longest)
        # A line ended with CR at the end of a piece: LF may follow and belongs to it.
        self._line_feed_may_follow = False
        self._mark = BOM  # until the first event has come

    def feed(self, piece: bytes) -> Iterator[Event]:
        """Yield the events with data that `piece` completes. Raises EventTooLong."""
        if not piece:
            return
        if self._line_feed_may_follow:
            piece = piece.removeprefix(b"\n")
        self._line_feed_may_follow = piece.endswith(b"\r")
        blocks = self._splitter.feed(piece)
        if self._line_feed_may_follow and (last := self._splitter.take_last()):
            blocks.append(last)
        for block in blocks:
            event = parse(block.removeprefix(self._mark))
            self._mark = b""
            if event is not None:
                yield event


def _is_one_event(data: bytes) -> bool:
    """Return whether data is one whole event without CR, as what comes at once usually is."""
    return data.find(b"\n\n") == len(data) - 2 >= 0 and b"\r" not in data


def event_ends(data: bytes | bytearray, position: int = 0) -> Iterator[int]:
    """Yield the positions after the ends of events. Most servers send no CR."""
    if data.find(b"\r", position) >= 0:
        for found in _EVENT_END.finditer(data, position):
            yield found.end()
        return
    while (found_at := data.find(b"\n\n", position)) >= 0:
        position = found_at + 2
        yield position


def events_of(data: bytes) -> Iterator[bytes]:
    """Yield the events in `data` one by one, and the incomplete rest if there is one."""
    if _is_one_event(data):
        yield data
        return
    begin = 0
    for end in event_ends(data):
        yield data[begin:end]
        begin = end
    if begin < len(data):
        yield data[begin:]


def parse(block: bytes) -> Event | None:
    """Return the event in a block of lines; None for one without data, as of comments."""
    begin = block.find(b"\n") + 1 if block.startswith(b"event: ") else 0
    is_one_line = block.startswith(b"data: ", begin) and block.find(b"\n", begin) == len(block) - 2
    if is_one_line and block.endswith(b"\n\n") and b"\r" not in block:  # as most are
        return Event(block[7 : begin - 1] if begin else b"", block[begin + 6 : -2])
    name, data = b"", []
    for line in block.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return Event(name, b"\n".join(data)) if data else None


def written(data: bytes, *, name: bytes = b"", id: bytes = b"") -> bytes:  # noqa: A002 - as SSE
    """Return an event. Each line end in `data` begins a line; name and id have none."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    if b"\n" in data:
        data = data.replace(b"\n", b"\ndata: ")
    head = b"id: %b\n" % id if id else b""
    if name:
        head += b"event: %b\n" % name
    return b"%bdata: %b\n\n" % (head, data)
