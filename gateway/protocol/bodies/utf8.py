"""Bytes of a stream as text: what is not UTF-8 in them is U+FFFD, as readers of a text have it."""

from __future__ import annotations

import codecs
import re
from typing import TYPE_CHECKING, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")
_Decoder = codecs.getincrementaldecoder("utf-8")
_CONTINUATION = re.compile(rb"[\x80-\xbf]{1,3}")  # the end of a character

# What `decoded_json` raises for bytes that are not JSON; a msgspec.DecodeError is a ValueError.
NOT_JSON = (ValueError, RecursionError)


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
