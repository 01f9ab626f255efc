"""Content types and what they make of a body: records, read bodies, SSE text (section 9)."""

from __future__ import annotations

import contextlib
import re
from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import BadRequest
from gateway.protocol.json_limits import check_readable
from gateway.protocol.json_slices import SLICE_BYTES, Slices, without_blanks

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence

DEFAULT_CONTENT_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(
    rf'{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*(?:{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*"))?)*[ \t]*'
)
# XML of any type may hold elements of XHTML or SVG, and name a style sheet with scripts.
_PAGE = re.compile(r"text/html|text/xsl|.*[/+]xml")
_JSON_VALUE = msgspec.json.Decoder(msgspec.Raw)
_JSON_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_JSON_SPACE = b" \t\r\n"


def check_content_type(text: str) -> str:
    """`text` itself when it is a media type with parameters (RFC 9110 section 8.3)."""
    if len(text) > 255 or _CONTENT_TYPE.fullmatch(text) is None:
        raise BadRequest("Content-Type is malformed: it must look like type/subtype; name=value")
    return text


@lru_cache(128)  # streams have a few types; of the longest that clients can send, 90 KB
def media_type(content_type: str) -> str:
    """The type without parameters, in lower case: what has to match."""
    return content_type.partition(";")[0].rstrip().lower()


def is_json(content_type: str) -> bool:
    """Whether the stream keeps message boundaries (section 9.1)."""
    return media_type(content_type) == JSON_TYPE


def is_text(content_type: str) -> bool:
    """Whether SSE carries the stream as text rather than as base64 (section 5.8)."""
    kind = media_type(content_type)
    return kind == JSON_TYPE or kind.startswith("text/")


def runs_scripts(content_type: str) -> bool:
    """Whether a browser that is led to such a stream shows it as a page, with its scripts."""
    return _PAGE.fullmatch(media_type(content_type)) is not None


def json_messages(body: bytes) -> list[bytes]:
    """The messages of a JSON body, one array level flattened, their bytes as they were sent."""
    return list(map(bytes, _messages(body)))


def _messages(body: bytes, *, to_keep: bool = False) -> Sequence[bytes | msgspec.Raw]:
    with _telling():
        body.decode()  # the JSON decoder lets bytes that are no UTF-8 pass inside strings
        value = bytes(_JSON_VALUE.decode(body)).strip(_JSON_SPACE)
        is_array = value.startswith(b"[")
        if to_keep:
            check_readable(value, around=is_array)
        return _JSON_ARRAY.decode(value) if is_array else [value]


@contextlib.contextmanager
def _telling() -> Iterator[None]:
    """Say what is wrong with a body."""
    try:
        yield
    except (ValueError, msgspec.DecodeError) as error:
        raise BadRequest(f"the body is not usable JSON: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body is not usable JSON: it is nested too deeply") from error


# What one append stores, and how many messages that is. A named one takes four times as long.
Messages = tuple[bytes, int]


def record_of(
    content_type: str, body: bytes, made: Messages | BadRequest | None = None
) -> Messages:
    """What one append stores: the body, or its JSON messages joined by commas; none for `[]`.

    `made` is what was made of a long JSON body already.
    """
    if not is_json(content_type):
        return body, 1
    if isinstance(made, BadRequest):
        raise made
    if made is not None:
        return made
    messages = _messages(body, to_keep=True)
    return b",".join(messages), len(messages)


def is_long(content_type: str | None, body: bytes) -> bool:
    """Whether to take a body apart would hold up others: `long_record` does it in steps."""
    return len(body) > SLICE_BYTES and content_type is not None and is_json(content_type)


def long_record(body: bytes) -> Generator[None, None, Messages | BadRequest]:
    """What `record_of` makes of a long JSON body, or refuses, in steps of a few milliseconds."""
    try:
        with _telling():
            return (yield from _long_record(body))
    except BadRequest as refusal:
        return refusal.with_traceback(None)


def _long_record(body: bytes) -> Generator[None, None, Messages]:
    begin, end = without_blanks(body)
    is_array = body[begin] == ord("[") and body[end - 1] == ord("]") and end - begin > 1
    slices = Slices(body[begin + is_array : end - is_array], begin + is_array)
    yield
    record, commas = BytesIO(), 0  # which gives out what was written without copying it once more
    for piece in slices:
        check_readable(piece.json, around=1)
        record.write(piece.text)
        commas += piece.commas
        yield
    if commas and not is_array:
        raise ValueError("JSON is malformed: trailing characters")
    made = record.getvalue()
    return made, commas + 1 if made else 0


def read_body(content_type: str, records: Sequence[bytes]) -> bytes:
    """The body that answers a read of these records."""
    if is_json(content_type):
        return b"".join((b"[", records[0] if len(records) == 1 else b",".join(records), b"]"))
    return records[0] if len(records) == 1 else b"".join(records)


def prefix_of(content_type: str, record: bytes, count: int) -> Generator[None, None, bytes | None]:
    """The first `count` messages (JSON) or bytes of a record; None when it holds fewer.

    In steps of a few milliseconds, however long the record is.
    """
    if not is_json(content_type):
        return record[:count] if count <= len(record) else None
    pieces: list[bytes] = []
    commas = 0
    for piece in Slices(record) if count else ():
        if commas + piece.commas >= count:
            return b"".join([*pieces, piece.first(count - commas)])
        pieces.append(piece.text)
        commas += piece.commas
        yield
    return b"".join(pieces) if not count or (pieces and count == commas + 1) else None
