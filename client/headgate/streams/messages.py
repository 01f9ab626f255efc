"""The messages of a stream: decoded by its content type, each with the place to read on from.

The protocol has an offset after each response, and none between the messages of one. A place within
a response is written `OFFSET,COUNT`: the offset at which the response began, and how many of its
messages, or bytes of text, come before the place. No offset has a comma (PROTOCOL.md section 6).
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

from headgate.errors import ProtocolError
from headgate.json_values import NOT_JSON, decoded_json
from headgate.names import shown
from headgate.sending.framing import is_json, media_type

if TYPE_CHECKING:
    from collections.abc import Iterator

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


class ReadingPlace(NamedTuple):
    """An offset of the server, and how many messages or bytes of text after it are passed over."""

    offset: str
    passed: int = 0

    @classmethod
    def of(cls, offset: str | Message) -> ReadingPlace:
        """Return the place of an offset, or after a message. Raises TypeError or ValueError."""
        text = offset.offset if isinstance(offset, Message) else offset
        if not isinstance(text, str):
            raise TypeError(
                "an offset is a str, or the message to continue after, not "
                f"{type(text).__name__}: begin at {BEGINNING!r}, or at {NOW!r} for what is new"
            )
        at, comma, count = text.partition(",")
        if not at or (comma and not (count.isascii() and count.isdecimal())):
            raise ValueError(
                f"{text[:80]!r} is not an offset of a message, {BEGINNING!r} or {NOW!r}"
            )
        return cls(at, int(count or 0))


class Decoder(Protocol):
    """Makes messages of the batches of one reading, which come in their order."""

    def messages(self, begin: str, batch: Batch) -> Iterator[Message]:
        """Yield the messages of a batch that begins at an offset. Raises ProtocolError."""
        ...


def decoder_of(content_type: str, passed: int, url: str) -> Decoder:
    """Return the decoder for a stream, which passes over so many messages or bytes."""
    if is_json(content_type):
        return JsonDecoder(passed, url)
    if media_type(content_type).startswith("text/"):
        return TextDecoder(passed)
    return BytesDecoder()


def _within(begin: str, count: int) -> str:
    """Return the place in a batch: its beginning where the beginning of the stream may move."""
    return begin if begin == BEGINNING else f"{begin},{count}"


class JsonDecoder:
    """The values of a JSON stream, whose batches are arrays."""

    def __init__(self, passed: int, url: str) -> None:
        self._passed = passed
        self._url = url

    def messages(self, begin: str, batch: Batch) -> Iterator[Message]:
        """Yield the values of a batch."""
        values: list[Any] = []
        for body in batch.bodies:
            try:
                values += decoded_json(body, _ARRAY.decode)
            except NOT_JSON as cause:
                raise ProtocolError(
                    f"what comes after offset {begin} is not JSON: read on after it, or read the "
                    f"bytes with follow_bytes ({cause})",
                    stream=shown(self._url),
                    offset=begin,
                ) from cause
        passed, self._passed = self._passed, max(0, self._passed - len(values))
        for number, value in enumerate(values[passed:], passed + 1):
            is_last = number == len(values)
            yield Message(value, batch.position.offset if is_last else _within(begin, number))


class TextDecoder:
    """The text of a stream in UTF-8, as it comes; a character that is cut is joined."""

    def __init__(self, passed: int) -> None:
        self._passed = passed
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def messages(self, begin: str, batch: Batch) -> Iterator[Message]:
        """Yield the text of a batch; at the end of the stream also what is half a character."""
        data = b"".join(batch.bodies)
        passed, self._passed = self._passed, max(0, self._passed - len(data))
        text = self._decoder.decode(data[passed:], final=batch.is_last)
        if not text:
            return
        cut = len(self._decoder.getstate()[0])
        yield Message(text, _within(begin, len(data) - cut) if cut else batch.position.offset)


class BytesDecoder:
    """The bytes of a stream of any other type, as they come."""

    def messages(self, begin: str, batch: Batch) -> Iterator[Message]:  # noqa: ARG002 - as the others
        """Yield the bytes of a batch."""
        if data := b"".join(batch.bodies):
            yield Message(data, batch.position.offset)
