"""Parse what one connection receives, one request at a time, and bound what is held of a head.

aiohttp's parser does not return bytes that it does not use. So it gets no byte beyond the request
that is being parsed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp.http_exceptions import BadHttpMessage, HttpProcessingError
from aiohttp.web import RequestPayloadError

from headgate_gateway.access.principal import CONSOLE
from headgate_gateway.errors import BadRequest, HeadTooLarge
from headgate_gateway.protocol.http.header_names import CONSOLE_FIELD
from headgate_gateway.web.requests.request_head import (
    is_plain_line,
    refusal,
    request_parser,
    without_mark,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp.http import HttpRequestParser
    from aiohttp.http_parser import RawRequestMessage
    from aiohttp.streams import StreamReader

    from headgate_gateway.web.connections.connection import Connection

HEAD_BYTES = 32 * 1024  # of an incomplete head; with the parser's copies thrice as much
# Bytes of a chunked body that are not data, beside 32 for each byte of data. Chunk extensions mean
# nothing here, and an endless one would be read for as long as the body may take (RFC 9112 section
# 7.1.1).
FRAMING_BYTES = 16 * 1024


class RequestParser:
    """The request of one connection that is being parsed: an incomplete head, or its `body`."""

    __slots__ = ("_fed", "_missing", "_parser", "_protocol", "body", "had_mark", "part")

    def __init__(self, protocol: Connection) -> None:
        self._protocol = protocol
        self.had_mark = False  # True if the latest request came with the mark of the console
        self._parser: HttpRequestParser | None = None  # 1 KB: not before a request is unknown
        self.part = bytearray()  # the beginning of an incomplete head
        self.body: StreamReader | None = None  # a body that is not complete
        self._missing: int | None = None  # bytes missing of the body; None if it is chunked
        self._fed = 0  # bytes of the chunked body that the parser was fed

    def _feed(self, data: bytes) -> Sequence[tuple[RawRequestMessage, StreamReader]]:
        parser = self._parser
        if parser is None:
            parser = request_parser(self._protocol, asyncio.get_running_loop())
            self._protocol._parser = self._parser = parser  # by which a body pauses reading
        messages, _, _ = parser.feed_data(data)
        if messages:
            parser.message_consumed()
        return messages

    def feed_head(
        self, data: bytes, start: int, at: int
    ) -> tuple[RawRequestMessage, StreamReader, int] | None:
        """Parse up to the end of a head, `at`, and what there is of its body.

        Return the message, its body and where that ends, or None if the head is not complete.
        Raises BadRequest or HeadTooLarge.
        """
        piece = data[start:at]
        try:
            messages = self._feed(piece)
            if not messages:
                self.part += piece
                if len(self.part) > HEAD_BYTES:
                    raise HeadTooLarge(f"the head of a request may be {HEAD_BYTES:,} bytes long")
                return None
            message, payload = messages[0]
            self.had_mark = CONSOLE_FIELD in message.headers
            if self.had_mark:
                message = without_mark(message, self._protocol.services.console_mark)
                self._protocol.peer = CONSOLE
            came_in_parts = bool(self.part)
            if not is_plain_line(self.part + piece if came_in_parts else piece):
                raise BadRequest("the request line has more than one blank between its parts")
            if not payload.is_eof():
                is_measured = "Content-Length" in message.headers
                self._missing = int(message.headers["Content-Length"]) if is_measured else None
                self._fed = 0
                at = self._feed_body(payload, data, at)
        except HttpProcessingError as error:
            raise refusal(error) from None
        self.part.clear()
        return message, payload, at

    def feed_rest(self, body: StreamReader, data: bytes) -> int:
        """Parse what there is of the `body` that is incomplete, and return where that ends.

        Its reader gets the error for malformed chunks.
        """
        try:
            return self._feed_body(body, data, 0)
        except HttpProcessingError as error:
            self.body = None
            if not body.is_eof():
                spoilt = RequestPayloadError(error.message)
                body.set_exception(spoilt)
                # A reader that was just woken for the chunk before would not see the exception.
                asyncio.get_running_loop().call_soon(body.set_exception, spoilt)
            return len(data)

    def _feed_body(self, body: StreamReader, data: bytes, start: int) -> int:
        end = len(data) if self._missing is None else min(len(data), start + self._missing)
        self._feed(data[start:end])
        if self._missing is not None:
            self._missing -= end - start
        else:
            self._fed += end - start
            is_too_much = self._fed > FRAMING_BYTES + 33 * body.total_bytes
            # While reading is paused, the parser holds data that the size does not count yet.
            if is_too_much and not (self._protocol._reading_paused or body.is_eof()):
                raise BadHttpMessage("there is more between the chunks than in them")
        self.body = None if body.is_eof() else body
        return end

    @property
    def is_chunked(self) -> bool:
        """True when the latest body that did not come with its head is chunked.

        After it nothing is parsed: the parser would take the last trailer for a line of the next
        head.
        """
        return self._missing is None
