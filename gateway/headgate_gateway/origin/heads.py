"""The heads of answers: what forbids to use one, and a memo of those that come again and again.

aiohttp's parser, in C, takes 10 us for a head of a dozen lines. A head that differs from an earlier
one only in VOLATILE values is parsed by one match instead, in 1 us, if its body came with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Hashable
from enum import StrEnum
from typing import TYPE_CHECKING

from aiohttp import HttpVersion10, HttpVersion11, hdrs
from msgspec import Struct

from headgate_gateway.protocol import http1

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aiohttp.http import RawResponseMessage

# As much as any client of ours would take from us: bytes of status line and fields.
HEAD_BYTES = 64 << 10
# To compile a pattern takes 300 us, and each use saves 9: so many uses pay for it.
WORTH_A_PATTERN = 32  # times that a head was received
MAX_COUNTED = 256  # heads that are counted; then all counts start again
# A pattern that does not match costs a little. Reads, polls at the tail and appends have one each.
MOST_PATTERNS = 4
LONGEST_PATTERN = 2048  # bytes of a head

# Fields with another value in each answer of a kind; what follows from them is not cached.
VOLATILE = frozenset(
    {
        "age",
        "content-length",
        "content-location",
        "date",
        "etag",
        "last-modified",
        "location",
        "producer-seq",
        "stream-cursor",
        "stream-next-offset",
        "x-cache-hits",
        "x-request-id",
    }
)

_CONTROLS = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_VOLATILE = {name.encode(): name for name in VOLATILE}
_UNREMEMBERED = b"set-cookie"  # it would push out what others say again and again
# The value of a field that differs: visible characters with single blanks between them. Heads with
# other values are parsed each time.
_VALUE = r"([!-~]++(?: [!-~]++)*+)"
_SIZE = r"([0-9]{1,15}+)"
_LENGTH = "content-length"


class AnswerKind(StrEnum):
    """The reason why an answer ends where it does; the value is the metric's label."""

    HEAD = "head"  # an answer to HEAD, whatever its status
    NO_CONTENT = "204"
    NOT_MODIFIED = "304"
    WHOLE = "whole"  # an answer that may have a body, all of which came


# In Python 3.11 a member costs as much as a call when it is looked up in its class; one that is no
# string is hashed by a function in Python, too.
HEAD, NO_CONTENT, NOT_MODIFIED, WHOLE = AnswerKind
_BY_STATUS = {204: NO_CONTENT, 304: NOT_MODIFIED}


class HeadKind(Struct, eq=False):
    """The part that equal heads have in common; `stable` is as in OriginAnswer."""

    status: int
    stable: Hashable | None
    is_last: bool  # the server closes the connection after it
    answer_kind: AnswerKind
    is_misframed: bool  # it announces a body that it may not have


class _Pattern(Struct, eq=False):
    """The pattern of one head; the groups of `match` are the values of the fields `names`."""

    match: Callable[[str], re.Match[str] | None]
    kind: HeadKind
    names: tuple[str, ...]


class HeadPatterns:
    """The patterns of one origin's heads, the one that matched last first."""

    def __init__(self) -> None:
        self._patterns: list[_Pattern] = []
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def read(self, data: bytes) -> tuple[HeadKind, dict[str, str], int] | None:
        """Return the head of an answer that matches a known pattern, if `data` is all of it.

        That is what it has in common with others, its VOLATILE values, and where the body begins.
        """
        patterns = self._patterns
        if not patterns:
            return None
        text = data[:LONGEST_PATTERN].decode("latin-1")
        for pattern in patterns:
            match = pattern.match(text)
            if match is not None:
                if pattern is not patterns[0]:
                    patterns.remove(pattern)
                    patterns.insert(0, pattern)
                values = dict(zip(pattern.names, match.groups(), strict=False))
                has_body = pattern.kind.status not in http1.BODYLESS
                size = int(values[_LENGTH]) if has_body else 0
                if match.end() + size != len(data):
                    return None
                return pattern.kind, values, match.end()
        return None

    def note(self, kind: HeadKind, head: bytes) -> None:
        """Count a parsed head, the answer to a GET or a write; make a pattern if it came often.

        `head` are its bytes up to the body.
        """
        counts = self._counts
        if kind.stable is None or len(head) > LONGEST_PATTERN:
            return
        times = counts.pop(kind.stable, 0) + 1
        if times < WORTH_A_PATTERN:
            if len(counts) >= MAX_COUNTED:
                counts.clear()
            counts[kind.stable] = times
            return
        pattern = _pattern_of(kind, head)
        if pattern is not None:
            self._patterns.insert(0, pattern)
            del self._patterns[MOST_PATTERNS:]  # a dropped head is counted again


def _pattern_of(kind: HeadKind, head: bytes) -> _Pattern | None:
    """Return a pattern of the head; None if none fits, or only the parser can find its end."""
    texts, names = [], []
    for line in head.decode("latin-1").split("\r\n")[:-2]:
        # It goes on the value of the line before, or the parser ends it earlier (RFC 9112,
        # sections 5.2 and 2.2).
        if line.startswith((" ", "\t")) or "\n" in line:
            return None
        spelling, _, value = line.partition(":")
        name = spelling.lower()
        if name not in VOLATILE:
            texts.append(re.escape(line))
            continue
        form = _SIZE if name == _LENGTH else _VALUE
        if name == _LENGTH and kind.answer_kind is NO_CONTENT:  # it may be misframed
            form = f"({re.escape(value[1:])})"
        if re.fullmatch(f" {form}", value) is None:
            return None
        names.append(name)
        texts.append(f"{re.escape(spelling)}: {form}")
    if _LENGTH not in names and kind.status not in http1.BODYLESS:
        return None
    text = r"\r\n".join([*texts, r"\r\n"])
    return _Pattern(re.compile(text).match, kind, tuple(names))


def stable_of(message: RawResponseMessage) -> tuple[Hashable | None, dict[str, str]]:
    """Return what a head has in common with similar ones, and its VOLATILE values.

    Both are as in OriginAnswer.
    """
    stable: list[Hashable] = [(message.version, message.code, message.reason)]
    volatile: dict[str, str] = {}
    is_remembered = True
    for field in message.raw_headers:
        lower = field[0].lower()
        name = _VOLATILE.get(lower)
        if name is not None:
            is_remembered &= name not in volatile
            volatile[name] = field[1].decode("utf-8", "surrogateescape")
            stable.append(field[0])
        elif lower == _UNREMEMBERED:
            is_remembered = False
        else:
            stable.append(field)
    return (tuple(stable) if is_remembered else None), volatile


def fault(message: RawResponseMessage) -> str | None:
    """Return why a head forbids to pass its response on, though it was parsed; else None."""
    if message.version not in {HttpVersion10, HttpVersion11}:
        return "it is of another version of HTTP"
    if not 200 <= message.code < 600:
        return f"its status is {message.code}"
    size = len("HTTP/1.1 200 \r\n") + len(message.reason or "")
    for name, value in message.raw_headers:
        size += len(name) + len(value) + 4
        if _CONTROLS.search(value):
            return f"there are control characters in its header {name.decode(errors='replace')}"
    if size > HEAD_BYTES:
        return f"its head is over {HEAD_BYTES} bytes"
    codings = message.headers.getall(hdrs.TRANSFER_ENCODING, ())
    return _coding_fault(message, codings) if codings else None


def _coding_fault(message: RawResponseMessage, codings: Iterable[str]) -> str | None:
    if message.version == HttpVersion10:
        return "it has a Transfer-Encoding, which HTTP/1.0 does not know"
    if [coding.lower() for coding in codings] != ["chunked"]:
        return "it has a Transfer-Encoding that was not asked for"
    return None


def end_of(
    status: int, length: str | None, *, is_head: bool, is_coded: bool
) -> tuple[AnswerKind, bool]:
    """Return the kind of an answer, and whether it is misframed.

    It is if a 204 announces a body, which it may not (RFC 9110, section 8.6).
    """
    kind = HEAD if is_head else _BY_STATUS.get(status, WHOLE)
    announces = kind is NO_CONTENT and (is_coded or http1.content_length(length or "0") != 0)
    return kind, announces


def is_last(message: RawResponseMessage, *, is_head: bool) -> bool:
    """Return whether the server closes the connection after an answer.

    The parser also says so of an answer to HEAD without a length: it expects a body.
    """
    if is_head and message.version == HttpVersion11:
        options = ",".join(message.headers.getall(hdrs.CONNECTION, ())).lower().split(",")
        return "close" in {option.strip() for option in options}
    return bool(message.should_close)
