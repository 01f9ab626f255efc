"""Heads that an origin sends again and again: each is matched as a whole.

One match, in which only what differs from answer to answer is looked for, takes 1 us; to take a
head of a dozen lines apart takes 5.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from msgspec import Struct

from gateway.origin.whole_answer import VOLATILE
from gateway.protocol import http1

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

IN_CHUNKS = -1  # the size of a body whose chunks tell it
# To make a pattern takes 300 us: it has to save more than that.
WORTH = 100  # times that a head has come
NOTED = 256  # heads of which it is counted; then all are counted anew
# Each that does not match costs a little. Reads, polls at the tail and appends have one each.
MOST_PATTERNS = 4
LONGEST_PATTERN = 2048  # bytes of a head

# Of most fields that differ, however they are written: single blanks between what is visible. What
# is not so is taken apart.
_VALUE = r"([!-~]++(?: [!-~]++)*+)"
_SIZE = r"([0-9]{1,15}+)"
_LENGTH = "content-length"


class HeadKind:
    """The common part of equal heads; `stable` is as in WholeAnswer."""

    __slots__ = ("is_last", "stable", "status")

    def __init__(self, status: int, stable: Hashable | None, *, is_last: bool) -> None:
        self.status = status
        self.stable = stable
        self.is_last = is_last  # the server closes the connection after it


class PlainHead(Struct, eq=False):
    """The head of an answer whose end is known.

    `volatile` is as of a WholeAnswer, `body_start` is where the body begins, and `size` how long
    it is, or IN_CHUNKS.
    """

    kind: HeadKind
    volatile: dict[str, str]
    body_start: int
    size: int


class _Pattern:
    """`match` finds the values of the fields of these `names`, in this order."""

    __slots__ = ("kind", "match", "names", "size")

    def __init__(self, text: str, kind: HeadKind, names: tuple[str, ...], size: int | None) -> None:
        self.match: Callable[[str], re.Match[str] | None] = re.compile(text).match
        self.kind = kind
        self.names = names
        self.size = size  # of the body, where the head does not tell it


class HeadPatterns:
    """The patterns of one origin's heads, the one that matched last first."""

    def __init__(self) -> None:
        self._patterns: list[_Pattern] = []
        self._noted: dict[Hashable, int] = {}

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
                told = dict(zip(pattern.names, match.groups(), strict=False))
                size = pattern.size
                if size is None:
                    size = int(told[_LENGTH])
                return PlainHead(pattern.kind, told, match.end(), size)
        return None

    def note(self, head: PlainHead, lines: Sequence[bytes]) -> None:
        """Make one of a head with these lines, of the status first, if it has come often."""
        stable, noted = head.kind.stable, self._noted
        if head.body_start > LONGEST_PATTERN:
            return
        times = noted.pop(stable, 0) + 1
        if times < WORTH:
            if len(noted) >= NOTED:
                noted.clear()
            noted[stable] = times
            return
        made = _made(head, lines)
        if made is not None:
            self._patterns.insert(0, made)
            del self._patterns[MOST_PATTERNS:]  # which may come often enough again


def _made(head: PlainHead, lines: Sequence[bytes]) -> _Pattern | None:
    """Return a pattern of the head, whose first line is the status line; None if it has none."""
    texts, names = [], []
    for line in lines:
        text = line.decode("latin-1")
        written, _, value = text.partition(":")
        name = written.lower()
        if name not in VOLATILE:
            texts.append(re.escape(text))
            continue
        form = _SIZE if name == _LENGTH else _VALUE
        if re.fullmatch(f" {form}", value) is None:
            return None
        names.append(name)
        texts.append(f"{re.escape(written)}: {form}")
    is_told = head.size != IN_CHUNKS and http1.has_body(head.kind.status)
    text = r"\r\n".join([*texts, r"\r\n"])
    return _Pattern(text, head.kind, tuple(names), None if is_told else head.size)
