"""Units of a stream's bodies: messages of a JSON stream, bytes of any other."""

from __future__ import annotations

from gateway.errors import HeadgateError
from gateway.protocol.bodies.content import is_json, json_messages
from gateway.protocol.origins.followed import is_whole

Units = list[bytes] | memoryview

# Limits for JSON that is parsed only to count its messages: its bytes, and its commas, which are
# about as many as its messages, or more. So many of the shortest messages take 3 ms.
LONGEST_COUNTED = 256 << 10
MOST_COUNTED = 16 << 10


def is_cheap(content_type: str, body: bytes) -> bool:
    """Return whether the units of a body are counted so fast that no other task has to wait."""
    if not is_json(content_type):
        return True
    return len(body) <= LONGEST_COUNTED and body.count(b",") <= MOST_COUNTED


def is_counted(content_type: str, body: bytes) -> bool:
    """Return whether the units of a body are valid and are counted at little cost."""
    return is_cheap(content_type, body) and is_whole(content_type, body)


def units_of(content_type: str, body: bytes) -> Units:
    """Return the units of a body: its messages, or a view of its bytes."""
    return _messages(body) if is_json(content_type) else memoryview(body)


def rest_of(content_type: str, body: bytes, skipped: int) -> bytes:
    """Return a body without its first `skipped` units."""
    if not is_json(content_type):
        return body[skipped:]
    return b"[" + b",".join(_messages(body)[skipped:]) + b"]"


def _messages(body: bytes) -> list[bytes]:
    try:
        return json_messages(body)
    except HeadgateError:  # not valid JSON: it counts as one message
        return [body]
