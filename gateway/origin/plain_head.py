"""The heads of answers that are plain: looked up line by line, as an origin says the same again.

To look a line up costs a tenth of parsing it. What is not seen at once to be well-formed and framed
by its length has no plain head, and is for the parser that knows all of HTTP.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from gateway.origin.whole_answer import VOLATILE

if TYPE_CHECKING:
    from collections.abc import Hashable

# Lines and status lines that are remembered: 1 MB. An origin has some dozens, and a Date a second;
# then all are forgotten.
REMEMBERED = 4096
LONGEST = 512  # bytes of a line that is remembered
MOST_LINES = 64  # of a head that is plain
LONGEST_HEAD = 16 << 10  # bytes of one; up to four times that the parser lets through
BODYLESS = frozenset({204, 304})

_STATUS = re.compile(rb"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t\x20-\x7e\x80-\xff]*)?\Z")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t\x20-\x7e\x80-\xff]*?)[ \t]*\Z")
_LENGTH = re.compile(rb"[0-9]{1,15}\Z")
# These change how a message is framed, or what its connection is for: the parser knows how.
_NOT_PLAIN = frozenset({"transfer-encoding", "upgrade", "proxy-connection", "trailer"})
_UNREMEMBERED = "set-cookie"  # it would push out what others say again and again
_OF_FEW_VALUES = frozenset({"age", "content-length", "date"})  # so their lines are remembered

# What a line is: its name in lower case, its value, and its name as it is written; or just one
# like the others.
_Fact = tuple[str, str, bytes]
_STABLE: _Fact = ("", "", b"")
_CLOSE: _Fact = ("connection", "close", b"Connection")


class PlainHead(NamedTuple):
    """The head of an answer whose end is known.

    `lines`, `stable` and `volatile` are as of a WholeAnswer.
    `begins` is where the body begins, `size` how long it is, and `is_last` whether the server
    closes the connection after it.
    """

    status: int
    lines: tuple[bytes, ...]
    stable: Hashable | None
    volatile: dict[str, str]
    begins: int
    size: int
    is_last: bool


class PlainHeads:
    """What the lines of one origin's answers are."""

    def __init__(self) -> None:
        self._lines: dict[bytes, _Fact] = {}
        self._statuses: dict[bytes, int] = {}

    def read(self, data: bytes, *, is_head: bool) -> PlainHead | None:
        """The head that these bytes begin with, where it is plain; `is_head` as the method."""
        end = data.find(b"\r\n\r\n", 0, LONGEST_HEAD)
        if end < 0:
            return None
        first, *lines = data[:end].split(b"\r\n")
        status = self._statuses.get(first) or self._learn_status(first)
        if not (status and len(lines) <= MOST_LINES):
            return None
        known = self._lines
        stable = [first]
        others: dict[str, str] = {}
        for line in lines:
            fact = known.get(line) or self._learn(line)
            if fact is _STABLE:
                stable.append(line)
            elif fact is None:
                return None
            else:
                name, value, written = fact
                if name in others:
                    return None
                others[name] = value
                stable.append(written)
        is_last = others.pop("connection", None) is not None
        length = "0" if is_head or status in BODYLESS else others.get("content-length")
        if length is None:
            return None
        kept = None if _UNREMEMBERED in others else tuple(stable)
        return PlainHead(status, tuple(lines), kept, others, end + 4, int(length), is_last)

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
        """What a line is; None where it is for the parser."""
        match = _FIELD.match(line)
        if match is None:
            return None
        name, value = match[1].decode().lower(), match[2].decode("utf-8", "surrogateescape")
        if name in _NOT_PLAIN or (name == "content-length" and _LENGTH.match(match[2]) is None):
            return None
        fact = _STABLE
        if name == "connection":
            options = {option.strip() for option in value.lower().split(",")}
            if "upgrade" in options:
                return None
            fact = _CLOSE if "close" in options else _STABLE
        elif name in VOLATILE or name == _UNREMEMBERED:
            fact = (name, value, match[1])
            if name not in _OF_FEW_VALUES:
                return fact
        return self._remembered(line, fact)

    def _remembered(self, line: bytes, fact: _Fact) -> _Fact:
        if len(line) <= LONGEST:
            if len(self._lines) >= REMEMBERED:
                self._lines.clear()
            self._lines[line] = fact
        return fact
