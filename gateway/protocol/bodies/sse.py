"""Server-sent events: data and control events of a live read (PROTOCOL.md section 5.8)."""

from __future__ import annotations

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING

from gateway.protocol.bodies.content import is_text

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

# Sent only between events. With a blank line it would be an event to httpx-sse and to OpenAI's SDK,
# which dispatch one without data once an id has come.
HEARTBEAT = b":\n"

SLICE_BYTES = 96 * 1024  # of nothing but line ends two milliseconds of work; three divides it
_BEGIN = b"event: data\ndata:"


def data_event(content_type: str, body: bytes) -> bytes:
    """Return a data event with a read's body: text as it is, anything else as base64."""
    return b"".join((_BEGIN, *_lines(content_type, body), b"\n\n"))


def is_long(body: bytes) -> bool:
    """Return whether a body is so long that `long_data_event` must render it in steps."""
    return len(body) > SLICE_BYTES


def long_data_event(content_type: str, body: bytes) -> Generator[None, None, bytes]:
    """Render the data event of a long body in steps of a few milliseconds."""
    event = BytesIO()  # gives out what was written to it without copying it once more
    event.write(_BEGIN)
    for part in _lines(content_type, body):
        event.write(part)
        yield
    event.write(b"\n\n")
    return event.getvalue()


def _lines(content_type: str, body: bytes) -> Iterator[bytes]:
    """Yield the pieces that follow the colon of the first line."""
    if not is_text(content_type):
        for at in range(0, len(body), SLICE_BYTES):
            yield b64encode(body[at : at + SLICE_BYTES])
        return
    if body.startswith(b" "):
        yield b" "
    at = 0
    while at < len(body):
        end = _behind_line_end(body, at + SLICE_BYTES)
        yield _as_lines(body[at:end])
        at = end


def _behind_line_end(body: bytes, at: int) -> int:
    """Return a place from `at` on that splits neither a line end nor its following space."""
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


def control_event(next_offset: str, cursor: int, *, up_to_date: bool, closed: bool) -> bytes:
    """Return the control event that follows a data event; a closed stream needs no cursor.

    Its id is the offset too: a browser sends it as Last-Event-ID when it reconnects.
    """
    text = f'id:{next_offset}\nevent: control\ndata:{{"streamNextOffset":"{next_offset}"'
    if closed:
        return f'{text},"streamClosed":true,"upToDate":true}}\n\n'.encode()
    tail = ',"upToDate":true' if up_to_date else ""
    return f'{text},"streamCursor":"{cursor}"{tail}}}\n\n'.encode()
