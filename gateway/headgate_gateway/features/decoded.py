"""Messages and events as features decode them: how much at a time, and bytes that are not UTF-8.

What is not UTF-8 in a stream is U+FFFD, as readers of a text have it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate_gateway.protocol.bodies.content import EVENTS_TYPE, is_text, media_type
from headgate_gateway.protocol.bodies.json_text import SLICE_BYTES, Slices, without_strings

if TYPE_CHECKING:
    from collections.abc import Iterator

# Bytes of a message that is decoded to be shown otherwise than it is stored: those of answers have
# some hundred, and a megabyte takes 10 ms.
LONGEST_DECODED = 1 << 20
# Commas, brackets, quotes and backslashes in all, for each value: a string may be JSON that is
# decoded as well, such as a tool's input, and more than half a million take 10 ms to leave out.
MARKS_PER_VALUE = 8

_MESSAGES = msgspec.json.Decoder(list[msgspec.Raw])


def is_events(content_type: str) -> bool:
    """Return whether a stream of this type is one of server-sent events, which are UTF-8."""
    return media_type(content_type) == EVENTS_TYPE and is_text(content_type)


def stored_messages(record: bytes) -> list[msgspec.Raw]:
    """Return the messages in a stored record of a JSON stream, with their bytes as sent."""
    return _MESSAGES.decode(b"[%b]" % record)


def messages_of(record: bytes) -> Iterator[bytes | None]:
    """Yield the messages in a stored record as `stored_messages` does.

    None is yielded between the slices of a long record, so that long work has steps.
    """
    if len(record) <= SLICE_BYTES:
        yield from map(bytes, stored_messages(record))
        return
    begun: list[bytes] = []
    for piece in Slices(record):
        parts = piece.parts
        begun.append(parts[0])
        if len(parts) > 1:
            yield b"".join(begun)
            yield from parts[1:-1]
            begun = [parts[-1]]
        yield None
    yield b"".join(begun)


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
