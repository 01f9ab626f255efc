"""Messages as features decode them: how much at a time, and bytes that are not UTF-8.

What is not UTF-8 in a stream is U+FFFD, as readers of a text have it.
"""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

from gateway.protocol.bodies.json_text import without_strings

if TYPE_CHECKING:
    from collections.abc import Callable

# Bytes of a message that is decoded to be shown otherwise than it is stored: those of answers have
# some hundred, and a megabyte takes 10 ms.
LONGEST_DECODED = 1 << 20
# Commas, brackets, quotes and backslashes in all, for each value: a string may be JSON that is
# decoded as well, such as a tool's input, and more than half a million take 10 ms to leave out.
MARKS_PER_VALUE = 8

_T = TypeVar("_T")
_Decoder = codecs.getincrementaldecoder("utf-8")
_CONTINUATION = re.compile(rb"[\x80-\xbf]{1,3}")  # the end of a character


def has_more_values(text: bytes, most: int) -> bool:
    """Return whether JSON may have more than `most` values, by its commas and brackets.

    Those inside of strings do not count, up to MARKS_PER_VALUE: prose has many, and is one value.
    """
    if (marks := _marks(text)) <= most:
        return False
    if max(marks, text.count(b'"'), text.count(b"\\")) > most * MARKS_PER_VALUE:
        return True
    return _marks(without_strings(text)) > most


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def as_utf8(data: bytes) -> bytes:
    """Return bytes with U+FFFD in place of what is not UTF-8 (WHATWG Encoding, section 6)."""
    return data if data.isascii() else data.decode(errors="replace").encode()


def part_as_utf8(data: bytes) -> bytes:
    """Return a part of a text as UTF-8; the bytes of a character that is cut at an end stay."""
    if data.isascii():
        return data
    cut = _CONTINUATION.match(data)
    begin = cut.end() if cut is not None else 0
    decoder = _Decoder("replace")
    text = decoder.decode(data[begin:])
    return data[:begin] + text.encode() + decoder.getstate()[0]


def decoded_json(data: bytes, decode: Callable[[bytes], _T] = msgspec.json.decode) -> _T:
    """Return the JSON value in bytes that others have written. Raises NOT_JSON."""
    try:
        return decode(data)
    except UnicodeDecodeError:
        return decode(as_utf8(data))
