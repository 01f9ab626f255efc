"""What the bodies of a stream are counted in: bytes, or messages where the stream is JSON."""

from __future__ import annotations

from gateway.errors import HeadgateError
from gateway.protocol.bodies.content import is_json, json_messages
from gateway.protocol.origins.followed import is_whole

Units = list[bytes] | memoryview

# JSON that is taken apart only to count its messages: bytes, and commas, of which there are no
# fewer. So many of the shortest messages take 3 ms.
LONGEST_COUNTED = 256 << 10
MOST_COUNTED = 16 << 10


def is_cheap(content_type: str, body: bytes) -> bool:
    """Whether to count a body holds nobody up."""
    if not is_json(content_type):
        return True
    return len(body) <= LONGEST_COUNTED and body.count(b",") <= MOST_COUNTED


def is_counted(content_type: str, body: bytes) -> bool:
    """Whether a body's units can be told, at little cost."""
    return is_cheap(content_type, body) and is_whole(content_type, body)


def units_of(content_type: str, body: bytes) -> Units:
    """A body's units, one by one."""
    return _messages(body) if is_json(content_type) else memoryview(body)


def rest_of(content_type: str, body: bytes, skipped: int) -> bytes:
    """A body without its first units."""
    if not is_json(content_type):
        return body[skipped:]
    return b"[" + b",".join(_messages(body)[skipped:]) + b"]"


def _messages(body: bytes) -> list[bytes]:
    try:
        return json_messages(body)
    except HeadgateError:  # an origin's own idea of JSON: counted as one
        return [body]
