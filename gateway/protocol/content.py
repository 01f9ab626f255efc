"""Content types and what they make of a body: records, read bodies, SSE text (section 9)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import msgspec

from gateway.errors import BadRequest

if TYPE_CHECKING:
    from collections.abc import Sequence

DEFAULT_CONTENT_TYPE = "application/octet-stream"
JSON_TYPE = "application/json"

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_CONTENT_TYPE = re.compile(
    rf'{_TOKEN}/{_TOKEN}(?:[ \t]*;[ \t]*(?:{_TOKEN}=(?:{_TOKEN}|"[ !#-\[\]-~]*"))?)*[ \t]*'
)
_JSON_VALUE = msgspec.json.Decoder(msgspec.Raw)
_JSON_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_JSON_SPACE = b" \t\r\n"


def check_content_type(text: str) -> str:
    """`text` itself when it is a media type with parameters (RFC 9110 section 8.3)."""
    if len(text) > 255 or _CONTENT_TYPE.fullmatch(text) is None:
        raise BadRequest("Content-Type is malformed: it must look like type/subtype; name=value")
    return text


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


def json_messages(body: bytes) -> list[bytes]:
    """The messages of a JSON body, one array level flattened, their bytes as they were sent."""
    try:
        body.decode()  # the JSON decoder lets bytes that are no UTF-8 pass inside strings
        value = bytes(_JSON_VALUE.decode(body)).strip(_JSON_SPACE)
        if not value.startswith(b"["):
            return [value]
        return [bytes(item).strip(_JSON_SPACE) for item in _JSON_ARRAY.decode(value)]
    except (ValueError, msgspec.DecodeError) as error:
        raise BadRequest(f"the body is not valid JSON: {error}") from error
    except RecursionError as error:
        raise BadRequest("the body is not usable JSON: it is nested too deeply") from error


def record_of(content_type: str, body: bytes) -> bytes:
    """What one append stores: the body, or its JSON messages joined by commas; b"" for `[]`."""
    if not is_json(content_type):
        return body
    return b",".join(json_messages(body))


def read_body(content_type: str, records: Sequence[bytes]) -> bytes:
    """The body that answers a read of these records."""
    if is_json(content_type):
        return b"[" + b",".join(records) + b"]"
    return records[0] if len(records) == 1 else b"".join(records)


def prefix_of(content_type: str, record: bytes, count: int) -> bytes | None:
    """The first `count` messages (JSON) or bytes of a record; None when it holds fewer."""
    if not is_json(content_type):
        return record[:count] if count <= len(record) else None
    messages = json_messages(b"[" + record + b"]")
    return b",".join(messages[:count]) if count <= len(messages) else None
