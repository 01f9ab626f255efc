"""Whole server-sent events in a stream of bytes (HTML Living Standard, section 9.2.5)."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING

from gateway.errors import OriginBroken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The longest that providers send hold an image in base64, of some megabytes.
LONGEST_EVENT = 16 << 20
# Two line ends in a row. A CR LF is one line end, so a CR before a LF is none by itself. Begun with
# a set of bytes, the search is four times as fast.
_END = re.compile(rb"[\r\n](?:(?<=\r)\n)?+(?:\n|\r\n?+)")
_LONGEST_END = 4  # bytes
# Lines without a field: providers that have nothing to say yet send them.
_COMMENTS = re.compile(rb"(?:(?::[^\r\n]*)?(?:\r\n|\n|\r))+")
_OF_COMMENTS = (b":", b"\n", b"\r")  # their first byte


class WholeEvents:
    """The events of a stream of bytes that arrives in parts; no byte is changed or lost."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = bytearray()  # grows without a copy for each part

    def feed(self, part: bytes) -> list[bytes]:
        """Return the events that are complete now.

        Raises OriginBroken for an event over LONGEST_EVENT.
        """
        data = self._rest
        if not data and _is_one_event(part):
            return [part]
        known = max(0, len(data) - _LONGEST_END)
        data += part
        ends = [*_ends(data, known)]
        if ends and ends[-1] == len(data) and data.endswith(b"\r"):
            ends.pop()  # a LF may follow
        whole = bytes(data[: ends[-1]]) if ends else b""
        del data[: len(whole)]
        if len(data) > LONGEST_EVENT:
            raise OriginBroken(f"an event of the answer is over {LONGEST_EVENT} bytes")
        return [whole[begin:end] for begin, end in pairwise((0, *ends))]

    def rest(self) -> bytes:
        """Return the bytes of an incomplete event."""
        return bytes(self._rest)


def _ends(data: bytes | bytearray, position: int = 0) -> Iterator[int]:
    """Yield the positions behind the ends of events. Most providers send no CR."""
    if data.find(b"\r", position) >= 0:
        for found in _END.finditer(data, position):
            yield found.end()
        return
    while (found_at := data.find(b"\n\n", position)) >= 0:
        position = found_at + 2
        yield position


def _is_one_event(data: bytes) -> bool:
    """Return whether data is one whole event without CR, as what comes at once usually is."""
    return data.find(b"\n\n") == len(data) - 2 >= 0 and b"\r" not in data


def events_of(data: bytes) -> Iterator[bytes]:
    """Yield the events in `data` one by one, and the incomplete rest if there is one."""
    if _is_one_event(data):
        yield data
        return
    begin = 0
    for end in _ends(data):
        yield data[begin:end]
        begin = end
    if begin < len(data):
        yield data[begin:]


class NumberedEvents:
    """Events with an `id:` line before each: the offset of its end, by which a reader resumes.

    `offset_of` returns the offset of a position in the stream.
    """

    __slots__ = ("_offset_of", "_position", "_splitter")

    def __init__(self, position: int, offset_of: Callable[[int], str]) -> None:
        """Begin with the event at `position`."""
        self._position = position
        self._offset_of = offset_of
        self._splitter = WholeEvents()

    def feed(self, part: bytes) -> bytes:
        """Return the events that are complete now, each with its id."""
        return b"".join([self._with_id(event) for event in self._splitter.feed(part)])

    def rest(self) -> bytes:
        """Return what has come behind the last event, once nothing more comes.

        An incomplete event is unchanged; one that ends with a CR is complete without a LF.
        """
        rest = self._splitter.rest()
        return self._with_id(rest) if len(rest) in _ends(rest) else rest

    def _with_id(self, event: bytes) -> bytes:
        self._position += len(event)
        return with_id(event, self._offset_of(self._position))


def with_id(event: bytes, offset: str) -> bytes:
    """Return an event with an `id:` line before it: the offset behind it; a comment has none."""
    if event.startswith(_OF_COMMENTS) and _COMMENTS.fullmatch(event):
        # Some clients take an id without data for an event, so these lines begin the next one.
        lines = event.rstrip(b"\r\n")
        return lines + b"\n" if lines else b""
    return b"id: %b\n%b" % (offset.encode(), event)
