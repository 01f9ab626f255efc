"""Encoding of chunks and batches by the content type of their stream."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from headgate.json_values import json_text
from headgate.names import MULTI

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON = "application/json"
LENGTH_BYTES = 4  # the most significant byte first
NOT_A_VALUE = "this is not a JSON value, such as a dict, a list or bytes of JSON text"
_VALUE = msgspec.json.Decoder(msgspec.Raw)


def media_type(content_type: str) -> str:
    """Return the content type in lower case without its parameters, as the server compares it."""
    return content_type.partition(";")[0].rstrip().lower()


def is_json(content_type: str) -> bool:
    """Return whether the messages of the stream are JSON values."""
    return media_type(content_type) == JSON


def json_array(values: Sequence[bytes]) -> bytes:
    """Return the body that appends each JSON value as a message, all of them or none."""
    return b"[%b]" % b",".join(values)


class JsonFraming:
    """A batch is one array, which every server takes apart into its messages."""

    max_chunks: int | None = None

    def encode(self, chunk: object) -> bytes:
        """Encode one message as JSON; bytes are taken as JSON text.

        TypeError or ValueError if it has none.
        """
        if isinstance(chunk, bytes | bytearray | memoryview):
            return _checked(bytes(chunk))
        try:
            return json_text(chunk)
        except TypeError as cause:
            raise TypeError(f"{NOT_A_VALUE}: {cause}") from cause
        except (ValueError, OverflowError, RecursionError) as cause:
            raise ValueError(f"{NOT_A_VALUE}: {cause}") from cause

    def batch(self, chunks: Sequence[bytes]) -> tuple[bytes, Mapping[str, str]]:
        """Return the body of a batch, and the header fields that declare its form."""
        return json_array(chunks), {}


@dataclass(frozen=True, slots=True)
class PlainFraming:
    """A batch is a multi-append; where the server takes none, it is one chunk.

    Each chunk of it has its length before it. Only a server that offers `X-Stream-Multi` does not
    take the lengths for data.
    """

    content_type: str
    takes_multi: bool
    max_chunks: int | None = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "max_chunks", None if self.takes_multi else 1)

    def encode(self, chunk: object) -> bytes:
        """Encode one chunk, text as UTF-8; raise TypeError or ValueError if that is impossible."""
        if isinstance(chunk, bytes | bytearray | memoryview):
            return bytes(chunk)
        if not isinstance(chunk, str):
            raise TypeError(
                f"a stream of {self.content_type} takes bytes or str, not {type(chunk).__name__}"
            )
        try:
            return chunk.encode()
        except UnicodeEncodeError as cause:
            raise ValueError(
                f"the chunk is no text: character {cause.start} is half of a surrogate pair"
            ) from cause

    def batch(self, chunks: Sequence[bytes]) -> tuple[bytes, Mapping[str, str]]:
        """Return the body of a batch, and the header fields that declare its form."""
        if len(chunks) == 1:
            return chunks[0], {}
        framed: list[bytes] = []
        for chunk in chunks:  # each shorter than 4 GiB
            framed += (len(chunk).to_bytes(LENGTH_BYTES, "big"), chunk)
        return b"".join(framed), {MULTI: "true"}


Framing = JsonFraming | PlainFraming


def framing_of(content_type: str, *, takes_multi: bool) -> Framing:
    """Return the framing for a content type; `takes_multi` if the server accepts multi-appends."""
    if is_json(content_type):
        return JsonFraming()
    return PlainFraming(content_type, takes_multi)


def _checked(text: bytes) -> bytes:
    """Return the JSON text if it is exactly one value; raise ValueError if not."""
    try:
        text.decode()  # the JSON decoder lets bytes that are no UTF-8 pass inside strings
        return bytes(_VALUE.decode(text))
    except (ValueError, msgspec.DecodeError, RecursionError) as cause:
        raise ValueError(f"{NOT_A_VALUE}: {cause}") from cause
