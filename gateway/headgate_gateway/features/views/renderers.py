"""Renderers: the records of a stream in, the bytes of a view out, without clock or I/O.

The bytes come in groups. A reader can resume behind each, so only its last event has an id: the
offset behind the message of the stream that it came from.
"""

from __future__ import annotations

from codecs import getincrementaldecoder
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING

from headgate.json_values import as_utf8
from headgate_gateway.background import at_once
from headgate_gateway.features.views.messages import Group, StreamMessage, splitter_of
from headgate_gateway.features.views.styles import STYLES
from headgate_gateway.protocol.bodies.content import is_text
from headgate_gateway.protocol.views import END_MARK

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

LONGEST_AT_ONCE = 64 * 1024  # bytes of a message that are read without steps
LONGEST_REST = 1 << 20  # bytes of a message that the end of the stream completes, without steps
MOST_PENDING = 1_000  # pieces
LAST_ID = b": end\n\n"  # a comment, which parsers leave out: it is there for its id


class ViewRenderer:
    """The renderer of one view of one stream, from its beginning on."""

    def __init__(
        self, view: str, content_type: str, thread: str, on_left_out: Callable[[int], object]
    ) -> None:
        """Render for a stream of this type; `thread` names it in the ids of its answers.

        `on_left_out` is called with the bytes of each message that is left out.
        """
        self._style = STYLES[view](content_type, thread)
        self._splitter = splitter_of(content_type, on_left_out)
        self._on_left_out = on_left_out
        self._is_text = is_text(content_type)
        self._pending: list[bytes] = []  # the last pieces of the next group
        self._earlier = BytesIO()  # those before them: a record may have millions of messages

    def groups(
        self, record: bytes, end: int, offset_of: Callable[[int], str]
    ) -> Generator[Group | None, None, None]:
        """Yield the groups that are complete with a record, which ends at the position `end`.

        None is yielded for a message that completes no group, so that long work has steps.
        """
        for message in self._splitter.messages(record, end):
            if message is None:
                yield None
                continue
            if len(message.data) > LONGEST_AT_ONCE:
                message = message._replace(data=(yield from self._readable(message.data)))
            self._add(message, offset_of)
            if message.is_border and self._pending:
                end_offset = offset_of(message.end)
                yield Group(end_offset, self._joined(end_offset))
            else:
                yield None

    def closing(self, end: int, offset_of: Callable[[int], str]) -> list[Group]:
        """Return what ends the view of a stream that is closed at the position `end`.

        Its own id shows that a reader has it, and not only what is before it.
        """
        rest = self._splitter.rest()
        start = end - len(rest)
        if len(rest) > LONGEST_REST:
            self._on_left_out(len(rest))
        elif rest:
            if len(rest) > LONGEST_AT_ONCE:
                rest = at_once(self._readable(rest))
            self._add(StreamMessage(rest, start, end), offset_of)
        self._pending += self._style.closing()
        end_offset = offset_of(end) + END_MARK
        if not self._pending and self._style.has_ids:
            self._pending.append(LAST_ID)  # the last event came before it was known to be the last
        return [Group(end_offset, self._joined(end_offset))] if self._pending else []

    def _readable(self, data: bytes) -> Generator[None, None, bytes]:
        """Return a long message as UTF-8, step by step; b"" for one that takes long to render."""
        if self._style.takes_long(data):
            self._on_left_out(len(data))
            return b""
        yield
        if not self._is_text or data.isascii():
            return data
        yield
        decoder = getincrementaldecoder("utf-8")("replace")
        text = BytesIO()
        for at in range(0, len(data), LONGEST_AT_ONCE):
            part = data[at : at + LONGEST_AT_ONCE]
            text.write(decoder.decode(part, at + LONGEST_AT_ONCE >= len(data)).encode())
            yield
        return text.getvalue()

    def _add(self, message: StreamMessage, offset_of: Callable[[int], str]) -> None:
        if not message.data:
            return
        data = message.data
        if self._is_text and len(data) <= LONGEST_AT_ONCE:
            data = as_utf8(data)
        self._pending += self._style.pieces(data, partial(offset_of, message.start))
        if len(self._pending) > MOST_PENDING:
            self._earlier.write(b"".join(self._pending[:-1]))
            del self._pending[:-1]

    def _joined(self, end: str) -> bytes:
        pieces, self._pending = self._pending, []
        if self._style.has_ids:
            pieces[-1] = b"id: %b\n%b" % (end.encode(), pieces[-1])
        if not self._earlier.tell():
            return b"".join(pieces)
        earlier, self._earlier = self._earlier, BytesIO()
        earlier.write(b"".join(pieces))
        return earlier.getvalue()
