"""JSON as it is sent: what readers' parsers fail on, and long texts in slices.

A stream is read as long as it exists. One message that a parser throws an error on blocks
all that come after it, so depth and digits are checked when a message is appended.

A body is parsed in slices, since one of 16 MiB (the default of `max_append`) would hold up all
other requests in one piece: for 65 ms if it is one long string, 130 ms if that has characters of
three bytes (36 ms of them to check UTF-8), and 900 ms if it is of short strings, most of that for
depth and digits. A bound on messages does not help: these are few. In slices a turn takes 3 to
26 ms on the same busy machine, and all turns together take no longer than the piece.

A slice is completed to whole JSON by the brackets and quotes that are open where it begins and
where it ends, so that the decoder of short bodies can parse it. A cut lies after a comma or within
a string: there the open brackets are all that has to be known.
"""

from __future__ import annotations

import re
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# .NET's reader accepts so many by default; Python's fails at about a thousand.
MAX_DEPTH = 64
# In a number: Python's reader accepts so many, since it is quadratic in them.
MAX_DIGITS = 4300
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_STEPS = bytes.maketrans(b"[{]}", b"\x01\x01\xff\xff")  # up and down, as signed bytes
_DIGITS = bytes(ord("0") if byte in b"0123456789" else ord(" ") for byte in range(256))
_TOO_MANY_DIGITS = b"0" * (MAX_DIGITS + 1)

SLICE_BYTES = 32 * 1024  # of the shortest messages 4 ms of work on a slow machine
# A number, a blank or brackets without a comma: no slice can end there. A megabyte takes 4 ms.
LONGEST_RUN = 1 << 20
# In such a run: twice as many as the decoder lets be open. A megabyte of brackets takes 60 ms.
MOST_BRACKETS = 2000

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_TO_COMMA_OR_STRING = re.compile(rb'[^,"]*+[,"]')
_SPACE = b" \t\r\n"
_BLANK = re.compile(rb"[ \t\r\n]*+")
_TOO_LONG = f"a number or a blank is over {LONGEST_RUN:,} bytes long, or it is all blank"
_HIGH_SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}")
_BYTE = re.compile(r"\(byte (\d+)\)")

# Replacements for the outer brackets that are open at a cut.
_OPEN = {ord("["): b"[", ord("{"): b'{"":'}
_CLOSE = {ord("["): b"]", ord("{"): b"}"}


def check_readable(text: bytes, *, around: int = 0) -> None:
    """Raise ValueError for valid JSON whose values are nested too deeply, or a number too long.

    `around` brackets stand around the values. The time is linear in the text.
    """
    if len(text) <= MAX_DIGITS and text.count(b"[") + text.count(b"{") <= MAX_DEPTH:
        return
    bare = without_strings(text)
    if _depth(bare) > MAX_DEPTH + around:
        raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
    if _TOO_MANY_DIGITS in bare.translate(_DIGITS):
        raise ValueError(f"a number has over {MAX_DIGITS} digits")


def without_strings(text: bytes) -> bytes:
    """Return JSON without its strings and their quotes."""
    return b"".join(text.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2])


def _depth(bare: bytes) -> int:
    """Return the greatest depth of brackets."""
    steps = memoryview(bare.translate(_STEPS, _NO_BRACKETS)).cast("b")
    return max(accumulate(steps), default=0)


# The brackets and quotes that complete the slices before and after a cut.
_COMMA = {ord("["): (b"[0,", b"0]"), ord("{"): (b'{"":0,', b'"":0}')}
_VALUE = {ord("["): (b'["', b'"]'), ord("{"): (b'{"":"', b'"}')}
_KEY = {ord("["): _VALUE[ord("[")], ord("{"): (b'{"', b'":0}')}
_ENDS = {ord("["): (b"[", b"]")}


class Slice(NamedTuple):
    """Messages, or pieces of them, completed to the array `json`.

    The first item begins with `head` bytes that are not of the text, and the last one ends with
    `tail` such bytes.
    """

    json: bytes
    items: Sequence[msgspec.Raw]
    head: int
    tail: int
    leading_commas: int  # commas before the slice, not in it

    @property
    def text(self) -> bytes:
        """The messages joined by commas, up to the cut."""
        joined = b",".join(self.items)
        return joined[self.head : len(joined) - self.tail]

    @property
    def parts(self) -> list[bytes]:
        """The messages, the last of which ends at the cut."""
        parts = list(map(bytes, self.items[self.leading_commas :]))
        if not self.leading_commas:
            parts[0] = parts[0][self.head :]
        parts[-1] = parts[-1][: len(parts[-1]) - self.tail]
        return parts

    @property
    def commas(self) -> int:
        """The number of commas between messages in the slice."""
        return len(self.items) - 1 - self.leading_commas

    def first(self, count: int) -> bytes:
        """Return the text up to the comma of that number, without it."""
        return b",".join(self.items[: count + self.leading_commas])[self.head :]


class Slices:
    """Goes through messages that commas divide, `offset` bytes into a body.

    Raises ValueError for text that is not JSON, and RecursionError for one nested too deeply.
    """

    def __init__(self, text: bytes, offset: int = 0) -> None:
        self._text = text
        self._offset = offset
        self._at = 0
        self._stack = bytearray(b"[")  # the brackets that are open, with one around it all
        self._cut = _ENDS
        self._in_string = False

    def __iter__(self) -> Iterator[Slice]:
        """Iterate over the slices."""
        while self._at < len(self._text):
            yield self._next()

    def _next(self) -> Slice:
        begin, stack, cut = self._at, bytes(self._stack), self._cut
        self._advance()
        before = b"".join([*map(_OPEN.__getitem__, stack[:-1]), cut[stack[-1]][0]])
        if not self._stack:
            raise ValueError("JSON is malformed: a bracket is closed that was not opened")
        outer = map(_CLOSE.__getitem__, reversed(self._stack[:-1]))
        if self._at == len(self._text):
            after = b"]"
        else:
            after = b"".join([self._cut[self._stack[-1]][1], *outer])
        piece = self._text[begin : self._at]
        piece.decode()  # the JSON decoder accepts bytes inside strings that are not UTF-8
        try:
            text = b"".join((before, piece, after))
            items = _ARRAY.decode(text)
        except msgspec.DecodeError as error:
            raise ValueError(
                _with_offset(str(error), self._offset + begin - len(before))
            ) from error
        leading_commas = cut is _COMMA and len(stack) == 1
        return Slice(text, items, len(before) - 1, len(after) - 1, int(leading_commas))

    def _advance(self) -> None:
        """Find the next cut, and the brackets open there."""
        begin, end = self._at, self._at + SLICE_BYTES
        if end >= len(self._text):
            self._at = len(self._text)
            return
        bare = self._text[begin:end].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = bare[self._in_string :: 2]
        was_in_string, self._in_string = self._in_string, self._in_string ^ (len(bare) % 2 == 0)
        if self._in_string:
            self._at = _between_characters(self._text, begin, end)
            if not (was_in_string and len(bare) == 1):
                self._enter_string(outside[-1])
        else:
            self._at = self._to_comma_or_string(end)
            outside.append(self._text[end : self._at])
            if self._at < len(self._text) and self._text[self._at - 1] == ord('"'):
                self._in_string = True
                self._enter_string((outside[-2] + outside[-1])[:-1])
            else:
                self._cut = _COMMA
        self._note_brackets(b"".join(outside).translate(None, _NO_BRACKETS))

    def _enter_string(self, before: bytes) -> None:
        self._cut = _VALUE if before.rstrip().endswith(b":") else _KEY

    def _to_comma_or_string(self, end: int) -> int:
        found = _TO_COMMA_OR_STRING.match(self._text, end, end + LONGEST_RUN)
        if found is not None:
            return found.end()
        if len(self._text) - end <= LONGEST_RUN:
            return len(self._text)
        raise ValueError(_TOO_LONG)

    def _note_brackets(self, brackets: bytes) -> None:
        stack = self._stack
        if len(brackets) > SLICE_BYTES + MOST_BRACKETS:
            raise RecursionError
        for bracket in brackets.replace(b"[]", b"").replace(b"{}", b""):
            if bracket in b"[{":
                stack.append(bracket)
            elif stack and stack[-1] == bracket - 2:  # ASCII has the two of a pair at this distance
                stack.pop()
            else:
                stack.clear()
                return


def without_blanks(body: bytes) -> tuple[int, int]:
    """Return where the value of a long body begins and ends."""
    blank = _BLANK.match(body, 0, LONGEST_RUN)
    begin = blank.end() if blank is not None else 0
    last = body[-LONGEST_RUN:]
    after = len(last) - len(last.rstrip(_SPACE))
    if LONGEST_RUN in {begin, after} or begin + after >= len(body):
        raise ValueError(_TOO_LONG)
    return begin, len(body) - after


def _between_characters(text: bytes, start: int, end: int) -> int:
    """Return a position near `end`, inside a string, that splits no escape and no character."""
    for _ in range(3):
        if text[end] & 0xC0 == 0x80:
            end -= 1
    escape = text.rfind(b"\\", start, end)
    length = 6 if text[escape + 1 : escape + 2] == b"u" else 2
    if end - escape < length and _begins_escape(text, start, escape):
        end = escape
    if _HIGH_SURROGATE.match(text, end - 6, end) and _begins_escape(text, start, end - 6):
        end -= 6
    return end


def _begins_escape(text: bytes, start: int, at: int) -> bool:
    """Return whether a backslash begins an escape; `start` is not inside one."""
    before = text[start:at]
    return (len(before) - len(before.rstrip(b"\\"))) % 2 == 0


def _with_offset(error: str, offset: int) -> str:
    """Return a decoder's error about a slice with its offset in the whole body."""
    return _BYTE.sub(lambda found: f"(byte {max(0, offset + int(found[1]))})", error)
