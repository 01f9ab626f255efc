"""Patterns of the heads that an origin sends most often, so that each is parsed by one match.

A match, which captures only the values that differ between responses, takes 1 us; to parse a head
of a dozen lines takes 5. `plain_head` tries the patterns first.
"""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.origin.in_step import NO_CONTENT, AnswerKind
from gateway.origin.whole_answer import VOLATILE
from gateway.protocol import http1

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

IN_CHUNKS = -1  # the size of a chunked body
# To compile a pattern takes 300 us, and each use saves 4.
WORTH_A_PATTERN = 100  # times that a head was received
MAX_COUNTED = 256  # heads that are counted; then all counts start again
# A pattern that does not match costs a little. Reads, polls at the tail and appends have one each.
MOST_PATTERNS = 4
LONGEST_PATTERN = 2048  # bytes of a head

# The value of a field that differs: visible characters with single blanks between them. Heads with
# other values are parsed line by line.
_VALUE = r"([!-~]++(?: [!-~]++)*+)"
_SIZE = r"([0-9]{1,15}+)"
_LENGTH = "content-length"


class HeadKind(Struct, eq=False):
    """The part that equal heads have in common; `stable` is as in WholeAnswer."""

    status: int
    stable: Hashable | None
    is_last: bool  # the server closes the connection after it
    answer_kind: AnswerKind
    is_misframed: bool  # it announces a body that it may not have


class PlainHead(Struct, eq=False):
    """The head of an answer whose end is known.

    `volatile` is as in WholeAnswer. The body begins at `body_start`, and has `size` bytes, or is
    IN_CHUNKS.
    """

    kind: HeadKind
    volatile: dict[str, str]
    body_start: int
    size: int


class _Pattern:
    """The pattern of one head; the groups of `match` are the values of the fields `names`."""

    __slots__ = ("kind", "match", "names", "size")

    def __init__(self, text: str, kind: HeadKind, names: tuple[str, ...], size: int | None) -> None:
        self.match: Callable[[str], re.Match[str] | None] = re.compile(text).match
        self.kind = kind
        self.names = names
        self.size = size  # of the body; None if a Content-Length has it


class HeadPatterns:
    """The patterns of one origin's heads, the one that matched last first."""

    def __init__(self) -> None:
        self._patterns: list[_Pattern] = []
        self._counts: dict[Hashable, int] = {}

    def __len__(self) -> int:
        return len(self._patterns)

    def read(self, data: bytes) -> PlainHead | None:
        """Return the head at the start of `data` if it matches a known pattern, else None."""
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
                size = pattern.size
                if size is None:
                    size = int(values[_LENGTH])
                return PlainHead(pattern.kind, values, match.end(), size)
        return None

    def note(self, head: PlainHead, lines: Sequence[bytes]) -> None:
        """Count a head with these lines, and make a pattern of it once it has come often."""
        stable, counts = head.kind.stable, self._counts
        if head.body_start > LONGEST_PATTERN:
            return
        times = counts.pop(stable, 0) + 1
        if times < WORTH_A_PATTERN:
            if len(counts) >= MAX_COUNTED:
                counts.clear()
            counts[stable] = times
            return
        pattern = _pattern_of(head, lines)
        if pattern is not None:
            self._patterns.insert(0, pattern)
            del self._patterns[MOST_PATTERNS:]  # a dropped head is counted again


def _pattern_of(head: PlainHead, lines: Sequence[bytes]) -> _Pattern | None:
    """Return a pattern of the head, which begins with its status line; None if none fits."""
    texts, names = [], []
    for line in lines:
        text = line.decode("latin-1")
        spelling, _, value = text.partition(":")
        name = spelling.lower()
        if name not in VOLATILE:
            texts.append(re.escape(text))
            continue
        form = _SIZE if name == _LENGTH else _VALUE
        if name == _LENGTH and head.kind.answer_kind is NO_CONTENT:  # it may be misframed
            form = f"({re.escape(value[1:])})"
        if re.fullmatch(f" {form}", value) is None:
            return None
        names.append(name)
        texts.append(f"{re.escape(spelling)}: {form}")
    has_length = head.size != IN_CHUNKS and http1.has_body(head.kind.status)
    text = r"\r\n".join([*texts, r"\r\n"])
    return _Pattern(text, head.kind, tuple(names), None if has_length else head.size)
