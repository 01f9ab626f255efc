"""Content types and what they make of a body: records, read bodies, SSE text (section 9)."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Sequence
from functools import lru_cache
from io import BytesIO
from sys import intern
from typing import TYPE_CHECKING

import msgspec

from headgate.json_values import NOT_JSON
from headgate_gateway.errors import BadRequest
from headgate_gateway.protocol.bodies.json_text import (
    SLICE_BYTES,
    Slices,
    check_readable,
    without_blanks,
)

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

DEFAULT_CONTENT_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"
EVENTS_TYPE = "text/event-stream"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(
    rf'{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*(?:{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*"))?)*[ \t]*'
)
# XML of any type may contain XHTML or SVG, or name a style sheet with scripts.
_PAGE = re.compile(r"text/html|text/xsl|.*[/+]xml")
# The first `charset` of a content type counts, as for browsers. Its value may be quoted.
_CHARSET = re.compile(r';[ \t]*charset=(?:"([^"]*)"|([^;]*))', re.IGNORECASE)
_UTF8 = frozenset({"utf-8", "utf8", "us-ascii"})  # browsers read utf8 as the first of them
_JSON_VALUE = msgspec.json.Decoder(msgspec.Raw)
_JSON_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_JSON_SPACE = b" \t\r\n"
_BRACKETS = (ord("["), ord("]"))

# Sent only between events. With a blank line it would be an event to httpx-sse and to OpenAI's SDK,
# which dispatch one without data once an id has come.
HEARTBEAT = b":\n"

EVENT_SLICE_BYTES = 96 * 1024  # if all are line ends, two milliseconds; a multiple of three
_DATA_BEGIN = b"event: data\ndata:"


def check_content_type(text: str) -> str:
    """Return `text` if it is a media type with parameters (RFC 9110 section 8.3)."""
    if len(text) > 255 or _CONTENT_TYPE.fullmatch(text) is None:
        raise BadRequest("Content-Type is malformed: it must look like type/subtype; name=value")
    return text


@lru_cache(128)  # streams have a few types; of the longest that clients can send, 90 KB
def media_type(content_type: str) -> str:
    """Return a content type without parameters, in lower case: the part that must match.

    Equal ones are the same object.
    """
    return intern(content_type.partition(";")[0].rstrip().lower())


@lru_cache(128)  # as of media_type
def is_json(content_type: str) -> bool:
    """Return whether a stream of this type keeps message boundaries (section 9.1)."""
    return media_type(content_type) == JSON_TYPE


@lru_cache(128)  # as of media_type
def is_text(content_type: str) -> bool:
    """Return whether SSE carries a stream of this type as text, not base64 (section 5.8).

    An event stream is UTF-8, so text in another charset is bytes. JSON has no other charset.
    """
    kind = media_type(content_type)
    if kind == JSON_TYPE:
        return True
    if not kind.startswith("text/"):
        return False
    charset = _CHARSET.search(content_type)
    return charset is None or (charset[1] or charset[2] or "").strip().lower() in _UTF8


def runs_scripts(content_type: str) -> bool:
    """Return whether a browser would show such a stream as a page, and run its scripts."""
    return _PAGE.fullmatch(media_type(content_type)) is not None


def json_messages(body: bytes) -> list[bytes]:
    """Split a JSON body into messages, one array level flattened, with their bytes as sent."""
    return list(map(bytes, _messages(body)))


def _messages(body: bytes, *, to_keep: bool = False) -> Sequence[bytes | msgspec.Raw]:
    try:
        body.decode()  # the JSON decoder accepts bytes inside strings that are not UTF-8
        value = bytes(_JSON_VALUE.decode(body)).strip(_JSON_SPACE)
        is_array = value.startswith(b"[")
        if to_keep:
            check_readable(value, around=is_array)
        return _JSON_ARRAY.decode(value) if is_array else [value]
    except NOT_JSON as error:
        raise _unusable(error) from error


def _unusable(error: Exception, what: str = "the body") -> BadRequest:
    """Return an error with what is wrong with a text."""
    reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
    return BadRequest(f"{what} is not usable JSON: {reason}")


# The records of one append, and their number of messages. A NamedTuple takes four times as long.
Records = tuple[Sequence[bytes], int]


def records_of(
    content_type: str, body: bytes, parsed_records: Records | BadRequest | None = None
) -> Records:
    """Return the records of an append: the body, or its JSON messages; none for `[]`.

    `parsed_records` is the result if the body was parsed before.
    """
    if isinstance(parsed_records, BadRequest):
        raise parsed_records
    if parsed_records is not None:
        return parsed_records
    if not is_json(content_type):
        return (body,), 1
    messages = _messages(body, to_keep=True)
    return (b",".join(messages),) if messages else (), len(messages)


def joined_messages(body: bytes) -> tuple[bytes, int]:
    """Return the record of a JSON body and how many messages it has; none if it is not usable."""
    try:
        messages = _messages(body, to_keep=True)
    except BadRequest:
        return b"", 0
    return b",".join(messages), len(messages)


def is_long(content_type: str | None, body: bytes) -> bool:
    """Return whether a body is so long that it must be parsed in steps."""
    return len(body) > SLICE_BYTES and content_type is not None and is_json(content_type)


def long_records(body: bytes) -> Generator[None, None, Records | BadRequest]:
    """Parse a long JSON body as `records_of` does, in steps of a few milliseconds."""
    try:
        record, count = yield from _joined(body, flattens=True)
    except NOT_JSON as error:
        return _unusable(error)
    return (record,) if record else (), count


def one_value(text: bytes, what: str) -> bytes:
    """Return a JSON value without the blanks around it. Raises BadRequest naming `what`."""
    try:
        text.decode()
        value = bytes(_JSON_VALUE.decode(text)).strip(_JSON_SPACE)
        check_readable(value)
    except NOT_JSON as error:
        raise _unusable(error, what) from error
    return value


def long_value(text: bytes, what: str) -> Generator[None, None, bytes]:
    """Parse a long text as `one_value` does, in steps of a few milliseconds."""
    try:
        value, _ = yield from _joined(text, flattens=False)
    except NOT_JSON as error:
        raise _unusable(error, what) from error
    return value


def short_values(texts: Sequence[bytes]) -> list[bytes] | None:
    """Parse a few texts as `one_value` does; None if one of them is not a value.

    All are decoded as one array, in a tenth of the time, and compared with its items.
    """
    values = [text.strip(_JSON_SPACE) for text in texts]
    array = b"[%b]" % b",".join(values)
    try:
        array.decode()
        check_readable(array, around=1)
        items = _JSON_ARRAY.decode(array)
    except NOT_JSON:
        return None
    return values if list(map(bytes, items)) == values else None


def _joined(body: bytes, *, flattens: bool) -> Generator[None, None, tuple[bytes, int]]:
    """Parse a long body; return its messages joined by commas, and their number."""
    begin, end = without_blanks(body)
    is_array = flattens and end - begin > 1 and (body[begin], body[end - 1]) == _BRACKETS
    slices = Slices(body[begin + is_array : end - is_array], begin + is_array)
    yield
    record, commas = BytesIO(), 0  # `getvalue` does not copy what was written
    for piece in slices:
        check_readable(piece.json, around=1)
        record.write(piece.text)
        commas += piece.commas
        yield
    if commas and not is_array:
        raise ValueError("JSON is malformed: trailing characters")
    joined = record.getvalue()
    return joined, commas + 1 if joined else 0


def read_body(content_type: str, records: Sequence[bytes]) -> bytes:
    """Return the body of a read of these records."""
    if is_json(content_type):
        return b"".join((b"[", records[0] if len(records) == 1 else b",".join(records), b"]"))
    return records[0] if len(records) == 1 else b"".join(records)


def prefix_of(content_type: str, record: bytes, count: int) -> Generator[None, None, bytes | None]:
    """Return the first `count` messages (JSON) or bytes of a record; None if it has fewer.

    It takes steps of a few milliseconds, however long the record is.
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


def data_event(content_type: str, body: bytes) -> bytes:
    """Return a data event with a read's body: text as it is, anything else as base64."""
    return b"".join((_DATA_BEGIN, *_event_lines(content_type, body), b"\n\n"))


def is_long_event(body: bytes) -> bool:
    """Return whether a body is so long that `long_data_event` must render it in steps."""
    return len(body) > EVENT_SLICE_BYTES


def long_data_event(content_type: str, body: bytes) -> Generator[None, None, bytes]:
    """Render the data event of a long body in steps of a few milliseconds."""
    event = BytesIO()  # `getvalue` does not copy what was written
    event.write(_DATA_BEGIN)
    for part in _event_lines(content_type, body):
        event.write(part)
        yield
    event.write(b"\n\n")
    return event.getvalue()


def _event_lines(content_type: str, body: bytes) -> Iterator[bytes]:
    """Yield the pieces that follow the colon of the first line."""
    if not is_text(content_type):
        for at in range(0, len(body), EVENT_SLICE_BYTES):
            yield b64encode(body[at : at + EVENT_SLICE_BYTES])
        return
    if body.startswith(b" "):
        yield b" "
    at = 0
    while at < len(body):
        end = _after_line_end(body, at + EVENT_SLICE_BYTES)
        yield _as_lines(body[at:end])
        at = end


def _after_line_end(body: bytes, at: int) -> int:
    """Return a position from `at` on that splits neither a line end nor its following space."""
    at += body[at - 1 : at + 1] == b"\r\n"
    at += body[at - 1 : at] in {b"\r", b"\n"} and body[at : at + 1] == b" "
    return at


def _as_lines(text: bytes) -> bytes:
    """Return text as lines of a field.

    Every line end that a parser of events knows would end the field, so each begins a new one;
    and parsers strip one space after the colon, so a line that begins with a space gets another.
    """
    if b"\r" in text:
        text = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    return text.replace(b"\n", b"\ndata:").replace(b"\ndata: ", b"\ndata:  ")


def control_event(
    next_offset: str, cursor: int, *, up_to_date: bool, closed: bool, start: str = ""
) -> bytes:
    """Return the control event that follows a data event; a closed stream needs no cursor.

    Its id is the offset too: a browser sends it as Last-Event-ID when it reconnects. The first one
    of a response from the beginning names the offset there, its `start`.
    """
    text = f'id:{next_offset}\nevent: control\ndata:{{"streamNextOffset":"{next_offset}"'
    if start:
        text += f',"headgateStartOffset":"{start}"'
    if closed:
        return f'{text},"streamClosed":true,"upToDate":true}}\n\n'.encode()
    tail = ',"upToDate":true' if up_to_date else ""
    return f'{text},"streamCursor":"{cursor}"{tail}}}\n\n'.encode()
