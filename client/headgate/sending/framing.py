"""Encoding of messages and batches by the content type of their stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from headgate.json_values import json_text
from headgate.multi_chunks import chunk_bytes, encode_multi_chunks
from headgate.names import MULTI

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

JSON = "application/json"
MAX_BATCH_BYTES = 256 << 10  # what every proxy and server takes as it comes
NOT_A_VALUE = "this is not a JSON value, such as a dict, a list or bytes of JSON text"
_VALUE = msgspec.json.Decoder(msgspec.Raw)


def media_type(content_type: str) -> str:
    """Return the content type in lower case without its parameters, as the server compares it."""
    return content_type.partition(";")[0].rstrip().lower()


def check_content_type(content_type: object) -> None:
    """Raise TypeError for what is neither a content type nor None."""
    if not isinstance(content_type, str | None):
        kind = type(content_type).__name__
        raise TypeError(f"content_type is a str such as 'text/plain', not {kind}")


def is_json(content_type: str) -> bool:
    """Return whether the messages of the stream are JSON values."""
    return media_type(content_type) == JSON


def json_array(values: Sequence[bytes]) -> bytes:
    """Return the body that appends each JSON value as a message, all of them or none."""
    return b"[%b]" % b",".join(values)


class Framing:
    """The form of the appends to a stream of a content type.

    Several messages of a JSON stream are one array. Chunks of another stream have their lengths
    before them, in a multi-append: only a server that offers `X-Stream-Multi` does not take the
    lengths for data. Elsewhere an append has one chunk.

    Attributes:
        encode: Returns the bytes of one message. Raises TypeError or ValueError for what the
            stream cannot hold.
    """

    def __init__(self, content_type: str, *, takes_multi: bool) -> None:
        self.content_type = content_type
        self.is_json = is_json(content_type)
        self.takes_batches = takes_multi or self.is_json
        self.encode = _json_value if self.is_json else self._data

    def _data(self, chunk: object) -> bytes:
        return chunk_bytes(chunk, f"a stream of {self.content_type}")

    def batch(self, chunks: Sequence[bytes]) -> tuple[bytes, Mapping[str, str]]:
        """Return the body of a batch, and the header fields that declare its form."""
        if self.is_json:
            return json_array(chunks), {}
        if len(chunks) == 1:
            return chunks[0], {}
        return encode_multi_chunks(chunks), {MULTI: "true"}


def _json_value(chunk: object) -> bytes:
    """Return a value as JSON; bytes are JSON text already, of exactly one value."""
    try:
        if isinstance(chunk, bytes | bytearray | memoryview):
            text = bytes(chunk)
            text.decode()  # the JSON decoder lets bytes that are no UTF-8 pass inside strings
            return bytes(_VALUE.decode(text))
        return json_text(chunk)
    except TypeError as cause:
        raise TypeError(f"{NOT_A_VALUE}: {cause}") from cause
    except (ValueError, OverflowError, RecursionError) as cause:
        raise ValueError(f"{NOT_A_VALUE}: {cause}") from cause
