"""Server-sent events: data and control events of a live read (PROTOCOL.md section 5.8)."""

from __future__ import annotations

import re
from base64 import b64encode

from gateway.protocol.content import is_text

HEARTBEAT = b":\n\n"

# Every line end that a parser of events knows would end a field, so each begins a new one; and
# parsers strip one space after the colon, so a line that begins with a space gets another.
_LINE_END = re.compile(rb"(?:\r\n|\r|\n)( ?)")
_NEXT_LINE = rb"\ndata:\1\1"


def data_event(content_type: str, body: bytes) -> bytes:
    """One data event with a read's body: text as it is, anything else as base64."""
    if not is_text(content_type):
        return b"event: data\ndata:" + b64encode(body) + b"\n\n"
    if b"\n" in body or b"\r" in body:
        body = _LINE_END.sub(_NEXT_LINE, body)
    first = b" " if body.startswith(b" ") else b""
    return b"".join((b"event: data\ndata:", first, body, b"\n\n"))


def control_event(next_offset: str, cursor: int, *, up_to_date: bool, closed: bool) -> bytes:
    """The control event that follows every data event; a closed stream needs no cursor.

    Its id is the offset too: a browser gives it back as Last-Event-ID when it connects again.
    """
    text = f'id:{next_offset}\nevent: control\ndata:{{"streamNextOffset":"{next_offset}"'
    if closed:
        return f'{text},"streamClosed":true,"upToDate":true}}\n\n'.encode()
    tail = ',"upToDate":true' if up_to_date else ""
    return f'{text},"streamCursor":"{cursor}"{tail}}}\n\n'.encode()
