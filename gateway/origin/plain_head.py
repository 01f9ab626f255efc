"""The heads of answers that are plain: looked up line by line, as an origin says the same again.

To look a line up costs a tenth of parsing it. What is not seen at once to be well-formed and framed
by its length, or in chunks, has no plain head, and is for the parser that knows all of HTTP. Heads
that come again and again, but for what differs in each answer, are not even taken apart
(`head_patterns`).
"""

from __future__ import annotations

import re

from gateway.origin.head_patterns import IN_CHUNKS, HeadKind, HeadPatterns, PlainHead
from gateway.origin.in_step import end_of
from gateway.origin.whole_answer import VOLATILE
from gateway.protocol import http1

# Lines and status lines that are remembered: 1 MB. An origin has some dozens, and a Date a second;
# then all are forgotten.
REMEMBERED = 4096
LONGEST = 512  # bytes of a line that is remembered
MOST_LINES = 64  # of a head that is plain
LONGEST_HEAD = 16 << 10  # bytes of one; up to four times that the parser lets through

_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\Z")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
_DIGITS = re.compile(r"[0-9]{1,15}\Z")
_LENGTH, _CODING, _CONNECTION = "content-length", "transfer-encoding", "connection"
# The parser knows what the others do to a message or its connection.
_OF_FRAMING = {_LENGTH, _CODING, _CONNECTION, "proxy-connection", "trailer", "upgrade"}
_UNREMEMBERED = "set-cookie"  # it would push out what others say again and again
_OF_FEW_VALUES = frozenset({"age", "date"})  # so their lines are remembered

# What a line is: its name in lower case, its value, and what of it is the same each time; or just
# one like the others.
_Fact = tuple[str, str, bytes]
_STABLE: _Fact = ("", "", b"")


class PlainHeads:
    """The known header lines of one origin's responses."""

    def __init__(self) -> None:
        self.patterns = HeadPatterns()
        self._lines: dict[bytes, _Fact] = {}
        self._statuses: dict[bytes, int] = {}

    def read(self, data: bytes, *, is_head: bool) -> PlainHead | None:
        """Return the head at the start of `data`, of a HEAD if `is_head`; None if not plain."""
        if not is_head:
            head = self.patterns.read(data)
            if head is not None:
                return head
        end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
        if end < 0:
            return None
        lines = data[:end].split(b"\r\n")
        head = self._parse(lines, end + 4, is_head=is_head)
        if head is not None and head.kind.stable is not None and not is_head:
            self.patterns.note(head, lines)
        return head

    def _parse(self, lines: list[bytes], body_start: int, *, is_head: bool) -> PlainHead | None:
        """Return the head of these lines, the status line first, with its body at `body_start`."""
        first = lines[0]
        status = self._statuses.get(first) or self._learn_status(first)
        if not (status and len(lines) <= 1 + MOST_LINES):
            return None
        known = self._lines
        stable = [first]
        others: dict[str, str] = {}
        for line in lines[1:]:
            fact = known.get(line) or self._learn(line)
            if fact is _STABLE:
                stable.append(line)
            elif fact is None:
                return None
            else:
                name, value, same = fact
                if name in others:
                    return None
                others[name] = value
                stable.append(same)
        is_last = others.pop(_CONNECTION, None) is not None
        is_coded = others.pop(_CODING, None) is not None
        length = others.get(_LENGTH)
        size = _size(length, is_coded, is_head or not http1.has_body(status))
        if size is None:
            return None
        stable_lines = None if _UNREMEMBERED in others else tuple(stable)
        end, misframed = end_of(status, length, is_head=is_head, is_coded=is_coded)
        kind = HeadKind(status, stable_lines, is_last, end, misframed)
        return PlainHead(kind, others, body_start, size)

    def _learn_status(self, line: bytes) -> int:
        match = _STATUS.match(line)
        if match is None:
            return 0
        status = int(match[1])
        if len(line) <= LONGEST:
            if len(self._statuses) >= REMEMBERED:
                self._statuses.clear()
            self._statuses[line] = status
        return status

    def _learn(self, line: bytes) -> _Fact | None:
        """Parse a new line, and remember its fact; None where it is for the parser."""
        match = _FIELD.match(line)
        if match is None:
            return None
        name, value = match[1].decode().lower(), match[2].decode("utf-8", "surrogateescape")
        if name in _OF_FRAMING:
            fact = _framing(name, value, line)
            return None if fact is None else self._remembered(line, fact)
        if name in VOLATILE or name == _UNREMEMBERED:
            fact = (name, value, match[1])
            return self._remembered(line, fact) if name in _OF_FEW_VALUES else fact
        return self._remembered(line, _STABLE)

    def _remembered(self, line: bytes, fact: _Fact) -> _Fact:
        if len(line) <= LONGEST:
            if len(self._lines) >= REMEMBERED:
                self._lines.clear()
            self._lines[line] = fact
        return fact


def _framing(name: str, value: str, line: bytes) -> _Fact | None:
    """Return the fact in a line about framing or connection; None if only the parser knows."""
    if name == _LENGTH and _DIGITS.match(value) is not None:
        return name, value, line.partition(b":")[0]
    if name == _CODING and value.lower() == "chunked":
        return name, value, line
    options = {option.strip() for option in value.lower().split(",")}
    if name != _CONNECTION or "upgrade" in options:
        return None
    return (name, value, line) if "close" in options else _STABLE


def _size(length: str | None, is_coded: bool, is_bodyless: bool) -> int | None:
    """Return the size of a body; None where only the parser knows it."""
    if is_coded:
        return None if is_bodyless or length is not None else IN_CHUNKS
    if is_bodyless:
        return 0
    return None if length is None else int(length)
