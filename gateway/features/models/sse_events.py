"""Whole server-sent events in a stream of bytes (HTML Living Standard, section 9.2.5)."""

from __future__ import annotations

import re
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from gateway.errors import OriginBroken
from gateway.features.decoded import decoded_json, event_ends
from gateway.protocol.bodies.json_text import NOT_JSON

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

# The longest that providers send hold an image in base64, of some megabytes.
LONGEST_EVENT = 16 << 20
_LONGEST_END = 4  # bytes
# A byte order mark, which parsers leave out at the beginning of a stream, and only there.
BOM = b"\xef\xbb\xbf"
# A field that makes a block of lines an event (section 9.2.6): one without data is ignored.
_DATA = re.compile(rb"(?:^|[\r\n])data(?=[:\r\n]|$)")
# What a block without data must not add to the next event: blank lines, a name and an id.
_NO_EVENT = re.compile(rb"(?:^|(?<=[\r\n]))(?:(?:event|id)(?::[^\r\n]*)?)?(?:\r\n|\n|\r)")
_LINE_END = re.compile(rb"\r\n|\n|\r")


class WholeEvents:
    """The events of a stream of bytes that arrives in parts; no byte is changed or lost."""

    __slots__ = ("_longest", "_rest")

    def __init__(self, longest: int = LONGEST_EVENT) -> None:
        """Refuse events of more than `longest` bytes."""
        self._longest = longest
        self._rest = bytearray()  # grows without a copy for each part

    def feed(self, part: bytes) -> list[bytes]:
        """Return the events that are complete now.

        Raises OriginBroken for an event that is too long.
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
            raise OriginBroken(f"an event of the answer is over {self._longest} bytes")
        return [whole[begin:end] for begin, end in pairwise((0, *ends))]

    def rest(self) -> bytes:
        """Return the bytes of an incomplete event."""
        return bytes(self._rest)

    def take_last(self) -> bytes:
        """Return the event whose last CR no LF follows any more, and forget it; b"" for none."""
        if len(self._rest) not in event_ends(self._rest):
            return b""
        last = bytes(self._rest)
        self._rest.clear()
        return last


def _is_one_event(data: bytes) -> bool:
    """Return whether data is one whole event without CR, as what comes at once usually is."""
    return data.find(b"\n\n") == len(data) - 2 >= 0 and b"\r" not in data


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


def event_fields(event: bytes) -> tuple[bytes, bytes | None]:
    """Return the name of an event, b"" without one, and its data, None without any."""
    begin = event.find(b"\n") + 1 if event.startswith(b"event: ") else 0
    is_one_line = event.startswith(b"data: ", begin) and event.find(b"\n", begin) == len(event) - 2
    if is_one_line and event.endswith(b"\n\n") and b"\r" not in event:  # as most are
        return event[7 : begin - 1] if begin else b"", event[begin + 6 : -2]
    name, data = b"", []
    for line in event.splitlines():
        field, _, value = line.partition(b":")
        if field == b"data":
            data.append(value.removeprefix(b" "))
        elif field == b"event":
            name = value.removeprefix(b" ")
    return name, b"\n".join(data) if data else None


def is_cut_json(data: bytes) -> bool:
    """Return whether the data of an event begin as JSON, or as `[DONE]`, and are not whole."""
    if not data.lstrip().startswith((b"{", b"[")) or data.strip() == b"[DONE]":
        return False
    try:
        decoded_json(data)
    except NOT_JSON:
        return True
    return False


def with_ids(events: Sequence[bytes], position: int, offset_of: Callable[[int], str]) -> bytes:
    """Return whole events, the first at `position`, each with the offset after it as its id.

    `offset_of` returns the offset of a position in the stream.
    """
    if len(events) == 1:
        return with_id(events[0], offset_of(position + len(events[0])))
    ends = accumulate(map(len, events), initial=position)
    next(ends)
    return b"".join(map(with_id, events, map(offset_of, ends)))


def with_id(event: bytes, offset: str) -> bytes:
    """Return an event with the offset after it as its last line, so that no other id counts.

    A block without data has no blank line and no id: OpenAI's SDK takes any blank line after an id
    for an event. Its comments, and fields that are not of an event, begin the next one.
    """
    if event.startswith(b"data:") and event.endswith(b"\n\n"):
        return b"%bid: %b\n\n" % (event[:-1], offset.encode())  # as most are
    if b"\ndata:" not in event and _DATA.search(event) is None:
        return _LINE_END.sub(b"\n", _NO_EVENT.sub(b"", event))
    lines = event.strip(b"\r\n")
    return b"%b\nid: %b\n\n" % (lines, offset.encode())
