"""Limits of JSON: of what readers' parsers fail on, and of what takes long to decode.

The first are checked when a message is appended. A stream is read for as long as it is there. One
message that a parser throws an error on is in the way of all that come after it.
"""

from __future__ import annotations

from itertools import accumulate

# .NET's reader takes so many unless it is told otherwise; Python's fails at about a thousand.
MAX_DEPTH = 64
# Of a number: Python's reader takes so many, since it is quadratic in them.
MAX_DIGITS = 4300
# Bytes of a message that is decoded to be shown otherwise than it is stored: those of answers have
# some hundred, and a megabyte takes 10 ms.
LONGEST_DECODED = 1 << 20
# Commas, brackets, quotes and backslashes in all, for each value: a string may be JSON that is
# decoded as well, such as a tool's input, and more than half a million take 10 ms to leave out.
MARKS_PER_VALUE = 8

_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up and down, as signed bytes
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_TOO_LONG = b"0" * (MAX_DIGITS + 1)


def check_readable(text: bytes, *, around: int = 0) -> None:
    """Raise ValueError for valid JSON whose values are nested too deeply, or a number too long.

    `around` brackets stand around the values. It takes a time that grows with the text alone.
    """
    if len(text) <= MAX_DIGITS and text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    bare = _without_strings(text)
    if _depth(bare) > MAX_DEPTH + around:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    if _TOO_LONG in bare.translate(_DIGITS):
        raise ValueError(f"a number has over {MAX_DIGITS} digits")


def has_more_values(text: bytes, most: int) -> bool:
    """Return whether JSON may have more than `most` values, by its commas and brackets.

    Those inside of strings do not count, up to MARKS_PER_VALUE: prose has many, and is one value.
    """
    if (marks := _marks(text)) <= most:
        return False
    if max(marks, text.count(b'"'), text.count(b"\\")) > most * MARKS_PER_VALUE:
        return True
    return _marks(_without_strings(text)) > most


def _marks(text: bytes) -> int:
    return text.count(b",") + text.count(b"[") + text.count(b"{")


def _without_strings(text: bytes) -> bytes:
    return b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _depth(bare: bytes) -> int:
    """Return the greatest depth of brackets."""
    steps = memoryview(bare.translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0)
