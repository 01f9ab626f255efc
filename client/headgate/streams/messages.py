"""The messages of a stream: decoded by its content type, each with the place to read on from.

The protocol has an offset after each response, and none between the messages of one. A place within
a response is written `OFFSET,COUNT`: the offset at which the response began, and how many of its
messages, or bytes of text, come before the place. No offset has a comma (PROTOCOL.md section 6).
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from headgate.errors import ProtocolError
from headgate.json_values import NOT_JSON, decoded_json
from headgate.names import shown
from headgate.sending.framing import is_json, media_type

if TYPE_CHECKING:
    from headgate.following import Batch

BEGINNING, NOW = "-1", "now"
_ARRAY = msgspec.json.Decoder(list[Any])


@dataclass(frozen=True, slots=True)
class Message:
    """A message of a stream.

    Attributes:
        value: A JSON value, a str of a stream of text, or bytes.
        offset: The place to continue at after this message. Where the server names none there, it
            is before the message: then it comes again, and is not lost.
    """

    value: Any
    offset: str


def place_of(offset: str | Message) -> tuple[str, int]:
    """Return an offset of the server, and how many messages or bytes of text after it are read.

    Raises TypeError or ValueError for what is not the place of a message.
    """
    text = offset.offset if isinstance(offset, Message) else offset
    if not isinstance(text, str):
        raise TypeError(
            "an offset is a str, or the message to continue after, not "
            f"{type(text).__name__}: begin at {BEGINNING!r}, or at {NOW!r} for what is new"
        )
    at, comma, count = text.partition(",")
    if not at or (comma and not (count.isascii() and count.isdecimal())):
        raise ValueError(f"{text[:80]!r} is not an offset of a message, {BEGINNING!r} or {NOW!r}")
    return at, int(count or 0)


class Decoder:
    """Makes messages of the batches of one reading, which come in their order.

    The batches of a JSON stream are arrays of values. Text comes as it comes, and a character that
    is cut is joined. The bytes of any other stream come as they come.

    Args:
        content_type: The type of the stream.
        passed: How many messages or bytes are passed over.
        url: The URL of the stream.
    """

    def __init__(self, content_type: str, passed: int, url: str) -> None:
        self._is_json = is_json(content_type)
        is_text = media_type(content_type).startswith("text/")
        self._text = codecs.getincrementaldecoder("utf-8")("replace") if is_text else None
        self._passed = passed
        self._url = url

    def messages(self, begin: str, batch: Batch) -> list[Message]:
        """Return the messages of a batch that begins at an offset. Raises ProtocolError."""
        after = batch.position.offset
        if self._is_json:
            values = self._values(begin, batch)
            passed = self._pass(len(values))
            last = len(values)
            return [
                Message(value, after if number == last else _within(begin, number))
                for number, value in enumerate(values[passed:], passed + 1)
            ]
        data = b"".join(batch.bodies)
        part = data[self._pass(len(data)) :]
        if self._text is None:
            return [Message(part, after)] if part else []
        text = self._text.decode(part, final=batch.is_last)
        if cut := len(self._text.getstate()[0]):
            after = _within(begin, len(data) - cut)
        return [Message(text, after)] if text else []

    def _pass(self, count: int) -> int:
        """Return how many of so many messages or bytes are passed over."""
        passed, self._passed = self._passed, max(0, self._passed - count)
        return passed

    def _values(self, begin: str, batch: Batch) -> list[Any]:
        values: list[Any] = []
        try:
            for body in batch.bodies:
                values += decoded_json(body, _ARRAY.decode)
        except NOT_JSON as cause:
            raise ProtocolError(
                f"what comes after offset {begin} is not JSON: read on after it, or read the "
                f"bytes with follow_bytes ({cause})",
                stream=shown(self._url),
                offset=begin,
            ) from cause
        return values


def _within(begin: str, count: int) -> str:
    """Return the place in a batch: its beginning where the beginning of the stream may move."""
    return begin if begin == BEGINNING else f"{begin},{count}"
