"""The body of a read as messages that can be shown: whole, or cut and said to be."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from msgspec.structs import replace

from headgate_admin.model.streams import ShownMessage
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.content import is_json, is_text, json_messages
from headgate_gateway.protocol.streams.offsets import format_offset, parse_offset

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a screen shows of one message.
LONGEST_MESSAGE = 16 << 10
PIECE = 4 << 10  # of what has no messages


def split(
    content_type: str, body: bytes, *, whole: bool, next_offset: str, start: str = ""
) -> list[ShownMessage]:
    """Split a body that begins at the offset `start` into messages.

    The last one has the offset after it, and so have others whose offsets are known. The last
    message of a body that is not `whole` is cut; cut JSON is a single message.
    """
    if is_json(content_type):
        messages = (
            _json(body, start, next_offset) if whole else [_message_of(body, cut=True, text=True)]
        )
    else:
        text = is_text(content_type)
        if text and not whole:
            body = body[: _whole_characters(body)]
        messages = [_message_of(piece, cut=False, text=text) for piece in _pieces(body, text=text)]
    if messages:
        last = messages[-1]
        cut = last.truncated or not whole
        messages[-1] = replace(last, truncated=cut, next_offset=next_offset)
    return messages


def _json(body: bytes, start: str, next_offset: str) -> list[ShownMessage]:
    try:
        items = json_messages(body)
    except BadRequest:  # an origin may send what it calls JSON
        return [_message_of(body, cut=False, text=True)]
    offsets = json_offsets([len(item) for item in items], start, next_offset)
    return [json_message(it, offsets[at], offsets[at + 1]) for at, it in enumerate(items)]


def json_message(item: bytes, offset: str | None, next_offset: str | None) -> ShownMessage:
    """Return a message of a JSON stream as it is shown, with the offsets around it."""
    shown = _message_of(item, cut=False, text=True)
    return replace(shown, offset=offset, next_offset=next_offset)


def json_offsets(sizes: Sequence[int], start: str, end: str) -> list[str | None]:
    """Return the offsets before, between and after messages of these sizes; None if unknown.

    Offsets count the bytes of records. A record has several messages if one append had them, with a
    comma between two, and no offset leads there. If the sizes add up to all bytes there is no such
    record. If there are commas, nothing says where.
    """
    offsets: list[str | None] = [None] * (len(sizes) + 1)
    offsets[0], offsets[-1] = start or None, end or None
    try:
        begin, behind = parse_offset(start, "start"), parse_offset(end, "end")
    except BadRequest:  # of another server
        return offsets
    if begin.generation == behind.generation and behind.position - begin.position == sum(sizes):
        positions = accumulate(sizes, initial=begin.position)
        return [format_offset(begin.generation, position) for position in positions]
    return offsets


def _message_of(message: bytes, *, cut: bool, text: bool) -> ShownMessage:
    beginning = message[:LONGEST_MESSAGE]
    truncated = cut or len(beginning) < len(message)
    if truncated and text:
        beginning = beginning[: _whole_characters(beginning)]
    try:
        content = beginning.decode() if text else None
    except UnicodeDecodeError:
        content = None
    return ShownMessage(len(message), content, beginning if content is None else None, truncated)


def _pieces(body: bytes, *, text: bool) -> Iterator[bytes]:
    begin = 0
    while begin < len(body):
        piece = body[begin : begin + PIECE]
        if text and begin + PIECE < len(body):
            piece = piece[: _whole_characters(piece)]
        yield piece
        begin += len(piece)


def _whole_characters(piece: bytes) -> int:
    """Return the length of a piece up to its last whole UTF-8 character; all if it is not UTF-8."""
    for back in range(1, min(4, len(piece)) + 1):
        byte = piece[-back]
        if byte >= 0xC0:  # begins a character of several bytes
            length = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(piece) - back if back < length else len(piece)
        if byte < 0x80:
            break
    return len(piece)
